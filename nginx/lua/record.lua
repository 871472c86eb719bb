-- nginx's own record of a request, for facts that its Lua API does not have: its address, the handler
-- that watches the client, and whether the client has left. By FFI, of the fields that come first.

local ffi = require "ffi"
local get_request = require("resty.core.base").get_request

ffi.cdef [[
typedef struct {
    void *data, *read, *write;
    int fd;
} bulkhead_connection;          /* how ngx_connection_s begins, in every nginx since 0.8 */
typedef struct {
    uint32_t signature;
    bulkhead_connection *connection;
    void **ctx, **main_conf, **srv_conf, **loc_conf;
    void (*read_event_handler)(void *request);
} bulkhead_request;             /* and ngx_http_request_s */
void ngx_http_block_reading(void *request);
ssize_t recv(int fd, void *buffer, size_t length, int flags);
]]
local SIGNATURE = 0x50545448    -- "HTTP"
local EAGAIN = 11
local PEEK = 0x42               -- MSG_PEEK | MSG_DONTWAIT

local M = {}
local address_type = ffi.typeof("uintptr_t")
local record_type = ffi.typeof("bulkhead_request *")

function M.address()
    local number = tonumber(ffi.cast(address_type, get_request()))
    return number
end

-- nil if it is not what we take it for.
local function record()
    local found = ffi.cast(record_type, get_request())
    return found.signature == SIGNATURE and found or nil
end

-- From now on a client that leaves does not end its request: the instance goes on with it whatever
-- nginx does, and keeps its place until it is done (proxy_ignore_client_abort). A wait does end, by
-- lua_check_client_abort; but that goes on watching the client after the access phase.
function M.ignore_client_abort()
    local found = record()
    if found then
        found.read_event_handler = ffi.C.ngx_http_block_reading
    end
end

-- All of the request must be here before it takes a place. Not by lua_need_request_body: with it
-- a request whose body is refused after its headers were read never ends. A body that has come at
-- once leaves nobody watching the client; who did so before shall do it again.
function M.read_body()
    local found = record()
    local watcher = found and found.read_event_handler
    ngx.req.read_body()
    if found then
        found.read_event_handler = watcher
    end
end

-- Whether the client has left while nobody was watching: its FIN or RST was taken for nothing.
local byte = ffi.new("char[1]")

function M.has_left()
    local found = record()
    if not found then
        return false
    end
    local got = ffi.C.recv(found.connection.fd, byte, 1, PEEK)
    return got == 0 or got < 0 and ffi.errno() ~= EAGAIN
end

return M
