-- Milliseconds on the monotonic clock, as nginx read it when this turn of its event loop began.
-- It costs a memory access, all processes of a host agree on it, and nobody can set it back.

local ffi = require "ffi"

ffi.cdef [[
extern volatile uintptr_t ngx_current_msec;
]]

local C = ffi.C
local tonumber = tonumber

return function()
    local now = tonumber(C.ngx_current_msec)    -- not a tail call: the compiler gives those up here
    return now
end
