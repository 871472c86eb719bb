-- POST /listeners of the internal listener: this worker hands its listening sockets over, as
-- SCM_RIGHTS (unix(7)) on a datagram to run/heir.sock. A new master needs them when its predecessor
-- was killed; where pidfd_getfd(2) is forbidden this is the only way to get them.

local ffi = require "ffi"
local settings = require "settings"

ffi.cdef [[
struct bulkhead_address { unsigned short family; char path[108]; };
struct bulkhead_vector { void *base; size_t length; };
struct bulkhead_message {
    void *name; unsigned int name_length;
    struct bulkhead_vector *vectors; size_t vectors_count;
    void *control; size_t control_length;
    int flags;
};
struct bulkhead_rights { size_t length; int level; int type; int descriptors[32]; };
int socket(int domain, int type, int protocol);
int getsockopt(int descriptor, int level, int name, void *value, unsigned int *length);
ssize_t sendmsg(int descriptor, const void *message, int flags);
int close(int descriptor);
]]

local C = ffi.C

local AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC = 1, 2, 0x80000
local SOL_SOCKET, SO_ACCEPTCONN, SCM_RIGHTS = 1, 30, 1
local MSG_DONTWAIT, MSG_NOSIGNAL = 0x40, 0x4000
local HIGHEST = 1023        -- nginx opens or inherits its listening sockets before everything else
local MOST = 32             -- descriptors in one message

local M = {}

-- The descriptors of all sockets that listen.
local function listening()
    local found = {}
    local value, length = ffi.new("int[1]"), ffi.new("unsigned int[1]")
    for descriptor = 0, HIGHEST do
        length[0] = ffi.sizeof("int")
        local failed = C.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, value, length) ~= 0
        if not failed and value[0] ~= 0 and #found < MOST then
            found[#found + 1] = descriptor
        end
    end
    return found
end

-- nil, or the errno.
local function send(descriptors, path)
    local address = ffi.new("struct bulkhead_address")
    address.family = AF_UNIX
    ffi.copy(address.path, path, #path)
    local byte = ffi.new("char[1]", 1)
    local vector = ffi.new("struct bulkhead_vector[1]")
    vector[0].base, vector[0].length = byte, 1
    local rights = ffi.new("struct bulkhead_rights")
    rights.length = ffi.offsetof("struct bulkhead_rights", "descriptors") + 4 * #descriptors
    rights.level, rights.type = SOL_SOCKET, SCM_RIGHTS
    for at, descriptor in ipairs(descriptors) do
        rights.descriptors[at - 1] = descriptor
    end
    local message = ffi.new("struct bulkhead_message")
    message.name, message.name_length = address, ffi.sizeof(address)
    message.vectors, message.vectors_count = vector, 1
    message.control, message.control_length = rights, rights.length
    local sending = C.socket(AF_UNIX, SOCK_DGRAM + SOCK_CLOEXEC, 0)
    if sending < 0 then
        return ffi.errno()
    end
    local sent = C.sendmsg(sending, message, MSG_DONTWAIT + MSG_NOSIGNAL)
    local errno = ffi.errno()
    C.close(sending)
    return sent < 0 and errno or nil
end

function M.hand_over()
    if ngx.req.get_method() ~= "POST" then
        ngx.header["Allow"] = "POST"
        return ngx.exit(405)
    end
    local found = listening()
    -- A worker that is told to quit closes them first.
    local errno = #found == 0 and 0 or send(found, settings.heir)
    if not errno then
        return ngx.exit(204)
    end
    ngx.status = 503
    ngx.header["Content-Type"] = "text/plain"
    ngx.say(#found, " listening sockets, errno ", errno)
end

return M
