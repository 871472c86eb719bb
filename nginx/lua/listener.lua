-- GET and PUT /peers of the internal listener: what nginx is told of the instances, and what it
-- makes of it.

local peers = require "peers"

local M = {}

local function get()
    ngx.header["Content-Type"] = "text/plain"
    ngx.print(peers.describe())
end

local function put()
    ngx.req.read_body()
    local ok, wrong = peers.put(ngx.req.get_body_data() or "")
    if ok then
        return ngx.exit(204)
    end
    ngx.status = 400
    ngx.header["Content-Type"] = "text/plain"
    ngx.say(wrong)
end

function M.peers()
    local method = ngx.req.get_method()
    if method == "PUT" then
        return put()
    elseif method == "GET" then
        return get()
    end
    return ngx.exit(405)
end

return M
