-- The balancer's settings from nginx.conf, set once in the master. Times are milliseconds.
--
--   peers       the rendered file with the instances, read when nobody has told of any yet
--   closing     the folder of files that are named by the pids of workers that are to end
--   heir        the unix socket at which a new master waits for the listening sockets of these workers
--   workers     how many nginx workers there are
--   tries       instances that a request may try in one round
--   tries_ms, queue_timeout_ms, queue_busy_timeout_ms, queue_max, retry_share, retry_burst: as in docs/settings.md
--   services    by name: policy, max_in_flight, hash ("consistent", "plain" or "")

local M = {}

function M.set(values)
    for name, value in pairs(values) do
        M[name] = value
    end
end

return M
