-- GET and PUT /peers of the internal listener: what nginx is told of the instances, and what it
-- makes of it.

local peers = require "peers"

local M = {}

function M.peers()
    local method = ngx.req.get_method()
    if method == "GET" then
        ngx.header["Content-Type"] = "text/plain"
        return ngx.print(peers.describe())
    elseif method ~= "PUT" then
        return ngx.exit(405)
    end
    ngx.req.read_body()
    local ok, wrong = peers.put(ngx.req.get_body_data() or "")
    if ok then
        return ngx.exit(204)
    end
    ngx.status = 400
    ngx.header["Content-Type"] = "text/plain"
    ngx.say(wrong)
end

return M
