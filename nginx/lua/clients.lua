-- How many requests one client address may have at once, of every kind: while it sends them, while
-- they wait or are worked on, and while it reads the answers. A worker counts its own and gives a
-- client its share of `client_max`. nginx's limit_conn would not forget what a killed worker had.

local record = require "record"
local settings = require "settings"

local max = math.max

local M = {}
local clients = {}          -- requests by client address
local counted = {}          -- the client of each request that is counted, by nginx's record of it

-- Count this request, once; a client that has enough is answered 429.
function M.enter()
    local request = record.address()
    if counted[request] then
        return
    end
    local client = ngx.var.binary_remote_addr
    local has = clients[client] or 0
    if has >= max(1, settings.client_max / settings.workers) then
        return ngx.exit(429)
    end
    clients[client] = has + 1
    counted[request] = client
end

-- A request is over.
function M.leave()
    local request = record.address()
    local client = counted[request]
    if client then
        counted[request] = nil
        clients[client] = clients[client] > 1 and clients[client] - 1 or nil
    end
end

return M
