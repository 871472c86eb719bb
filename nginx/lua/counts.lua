-- How many requests each instance has in flight, over all workers.
--
-- A worker publishes its own in the shared dictionary under its pid; the number of an instance is
-- the sum over the workers that there are now. So a worker that is killed leaks nothing: its
-- successor takes its place (`worker/ID`), as workers of a newer configuration do.
--
-- Policies see numbers that are a millisecond old; only the instance that is about to be chosen is
-- looked at afresh (`enter`). A worker also publishes since when the first in each queue has waited.

local settings = require "settings"

local dict = ngx.shared.bulkhead
local floor, max, min = math.floor, math.max, math.min

local KEYS_PER_MS = 50      -- 50 x 0.2 us in a millisecond are 1 % of a worker's time

local M = {}
local own                   -- "PID/", the beginning of this worker's keys
local others = {}           -- the same of each other worker, nil while there is none
local looked = 0

-- Take this worker's place; drop what a killed predecessor has left in the dictionary.
function M.start()
    local place = "worker/" .. ngx.worker.id()
    local before = dict:get(place)
    own = ngx.worker.pid() .. "/"
    if before then
        for _, key in ipairs(dict:get_keys(0)) do
            if key:sub(1, #before) == before then
                dict:delete(key)
            end
        end
    end
    dict:set(place, own)
end

-- This worker knows this peer no more, or ends.
function M.forget(peer)
    dict:delete(peer.key)
end

-- The fields of a peer that belong to this module. `id` is the same in every worker.
function M.init(peer, id)
    peer.mine, peer.others = 0, 0
    peer.id, peer.key, peer.slot = id, own .. id, "suspect/" .. id
    peer.keys = {}
end

local function look(peer)
    local sum = 0
    for at = 1, settings.workers - 1 do
        local key = peer.keys[at]
        sum = sum + (key and dict:get(key) or 0)
    end
    peer.others = sum
    return sum
end

local function find_workers()
    local at, changed = 0, false
    for id = 0, settings.workers - 1 do
        if id ~= ngx.worker.id() then
            at = at + 1
            local now = dict:get("worker/" .. id)
            changed = changed or others[at] ~= now
            others[at] = now
        end
    end
    return changed
end

-- Look at all peers' numbers again, if enough time has passed. `all` is a list, `n` its length.
function M.refresh(all, n, now, changed)
    local keys = settings.workers * (n + 1)
    if not changed and now - looked < max(1, floor(keys / KEYS_PER_MS)) then
        return
    end
    looked = now
    changed = find_workers() or changed
    for i = 1, n do
        local peer = all[i]
        peer.taken = dict:get(peer.slot) ~= nil
        if changed then
            for at = 1, settings.workers - 1 do
                peer.keys[at] = others[at] and others[at] .. peer.id
            end
        end
        look(peer)
    end
end

local function publish(peer, number)
    if settings.workers > 1 then
        dict:set(peer.key, number)
    end
end

-- Count one more request at `peer`; false when that would be more than it may have. It is published
-- before the others' are looked at: two workers that want the last place are never both let in.
function M.enter(peer)
    local mine = peer.mine + 1
    publish(peer, mine)
    if mine + look(peer) > peer.max then
        publish(peer, peer.mine)
        return false
    end
    peer.mine = mine
    return true
end

function M.leave(peer)
    peer.mine = peer.mine - 1
    publish(peer, peer.mine)
end

-- Since when (ms) the first in this worker's queue of a service waits; nil when there is none. It is
-- forgotten after `seconds`.
function M.publish(service, since, seconds)
    if settings.workers > 1 and (since or service.has_published) then
        dict:set(own .. "queue/" .. service.name, since, since and seconds or 0)
        service.has_published = since ~= nil
    end
end

-- The earliest of what the other workers have published of a service, or nil.
function M.published(service, now)
    if service.looked ~= now then
        service.looked, service.earliest = now, nil
        for at = 1, settings.workers - 1 do
            local since = others[at] and dict:get(others[at] .. "queue/" .. service.name)
            if since then
                service.earliest = min(service.earliest or since, since)
            end
        end
    end
    return service.earliest
end

-- Requests that `peer` has now: exact, for whoever asks from outside.
function M.exact(peer)
    return peer.mine + look(peer)
end

return M
