-- What nginx.conf says about the balancer, for every module that needs it. Set once, by
-- init_by_lua in the master, before any worker exists. Times are milliseconds.
--
--   peers       the rendered file with the instances, read when nobody has told of any yet
--   closing     the folder of files that are named by the pids of workers that are to end
--   workers     how many nginx workers there are
--   tries       instances that a request may try in one pass
--   tries_ms, hold_ms, queue_ms, hold_max, retry_share, retry_burst: as in docs/settings.md
--   services    by name: policy, max_in_flight, hash ("consistent", "plain" or "")

local M = {}

function M.set(values)
    for name, value in pairs(values) do
        M[name] = value
    end
end

return M
