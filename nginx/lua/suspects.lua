-- Requests that may be deadly (docs/request-queue.md, Poison). What has been in several deaths is a
-- suspect: it is tried alone, by an instance that has nothing else, and a further death is its own.

local dict = ngx.shared.bulkhead

local HANGS, DEATHS = 2, 3
local DEATHS_IN_ANY_STORM = 5
local REMEMBERED_S = 60

local M = {}

-- The watchdog is about to kill a process of this instance, because it hangs.
function M.note_hang(id, now)
    dict:set("hung/" .. id, now, REMEMBERED_S)
end

-- Whether it has done so since then.
function M.has_hung(peer, since)
    return (dict:get("hung/" .. peer.id) or -1) >= since
end

-- Another process has died with this request.
function M.died(request)
    request.deaths = request.deaths + 1
    request.suspect = request.suspect or request.deaths >= DEATHS - 1
end

-- And it had been hanging.
function M.hung(request)
    request.hangs = request.hangs + 1
    request.suspect = true
end

-- Whether the next death is this request's doing. In a storm of deaths, most of them elsewhere, a
-- long request is rather a victim.
function M.is_poison(request)
    local elsewhere = request.service.deaths - request.deaths_before - request.deaths
    return request.hangs >= HANGS or request.deaths >= DEATHS_IN_ANY_STORM
        or request.deaths >= DEATHS and elsewhere < request.deaths
end

-- Keep the instance for one suspect; false when it is kept for another. Should this worker be
-- killed meanwhile, that is forgotten when the try would be over.
function M.take(peer, service)
    local taken = dict:add(peer.slot, true, 2 * service.timeout_ms / 1000)
    peer.taken = true
    return taken
end

-- The instance is for everybody again.
function M.free(peer)
    dict:delete(peer.slot)
    peer.taken = false
end

return M
