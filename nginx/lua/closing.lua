-- Is this worker about to end? Then its answers close their connections, so that its clients are
-- gone before it is. Whoever is to end a worker creates the file run/closing/PID.

local settings = require "settings"

local EVERY_MS = 50         -- how old an answer may be: one open(2) that fails in so much time

local M = {}
local path
local asked = false
local looked = -EVERY_MS

function M.start()
    path = settings.closing .. ngx.worker.pid()
end

function M.asked(now)
    if now - looked >= EVERY_MS then
        looked = now
        local file = io.open(path)
        asked = file ~= nil
        if file then
            file:close()
        end
    end
    return asked
end

return M
