-- The policies: which of the peers that are open to a request it gets (docs/request-queue.md).
--
-- The arithmetic is that of nginx's own modules, but for `rendezvous`. Every policy is a function
-- of (service, request, now, demand) and returns a peer, or nil when none is open. `demand` is how
-- much is asked of a peer: ROOM, UNTRIED (by this request) or CALM (it has failed nobody in the
-- last half second), each with what is before it.

local bit = require "bit"

local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit
local byte = string.byte
local crc32 = ngx.crc32_long
local log, random = math.log, math.random

local REHASHES = 20         -- as in nginx: then round robin

local ROOM, UNTRIED, CALM = 1, 2, 3

local M = {}

-- Whether this request has tried the process that `peer` is now.
local function is_tried(request, peer)
    for i = 1, request.tried do
        if request.peers[i] == peer and request.boots[i] == peer.boot then
            return true
        end
    end
    return false
end

-- An instance that is `taken` is kept for one suspect (suspects.lua).
local function is_open(peer, request, now, demand)
    return peer.mine + peer.others < peer.max
        and (demand < UNTRIED or not is_tried(request, peer))
        and (demand < CALM or peer.failing_until <= now)
        and not peer.taken
end

-- Smooth weighted round robin: every peer gains its weight, the richest is chosen and pays what
-- all have gained. 5, 1, 1 gives a a b a c a a. With `fewest`, only peers with so few requests for
-- their weight take part.
local function round_robin(service, request, now, demand, fewest)
    local best
    local total = 0
    for i = 1, service.count do
        local peer = service.usable[i]
        if is_open(peer, request, now, demand)
            and (not fewest or (peer.mine + peer.others) / peer.weight == fewest)
        then
            total = total + peer.weight
            peer.current = peer.current + peer.weight
            if not best or peer.current > best.current then
                best = peer
            end
        end
    end
    if best then
        best.current = best.current - total
    end
    return best
end

-- By the names of the policies.
local choices = { round_robin = round_robin }

function choices.least_conn(service, request, now, demand)
    local fewest = math.huge
    local best
    local ties = 0
    for i = 1, service.count do
        local peer = service.usable[i]
        if is_open(peer, request, now, demand) then
            local load = (peer.mine + peer.others) / peer.weight
            if load < fewest then
                fewest, best, ties = load, peer, 1
            elseif load == fewest then
                ties = ties + 1
            end
        end
    end
    return ties < 2 and best or round_robin(service, request, now, demand, fewest)
end

-- The peer in whose share of all weights `point` lies, dead ones counted: so its clients come back
-- to it when it does. nil if it is not open: then nginx hashes once more.
local function open_owner(service, point, request, now, demand)
    point = point % service.weight
    for i = 1, service.n do
        local peer = service.all[i]
        if point < peer.weight then
            return peer.usable and is_open(peer, request, now, demand) and peer or nil
        end
        point = point - peer.weight
    end
end

function choices.ip_hash(service, request, now, demand)
    local address = ngx.var.binary_remote_addr
    local bytes = #address == 4 and 3 or #address      -- of IPv4 three count
    local hash = 89
    for _ = 1, REHASHES do
        for i = 1, bytes do
            hash = (hash * 113 + byte(address, i)) % 6271
        end
        local peer = open_owner(service, hash, request, now, demand)
        if peer then
            return peer
        end
    end
    return round_robin(service, request, now, demand)
end

-- All bits of `a` into all bits of the result: Bob Jenkins' integer hash of six shifts.
local function mixed(a)
    a = tobit(a + 0x7ed55d16 + lshift(a, 12))
    a = bxor(a, 0xc761c23c, rshift(a, 19))
    a = tobit(a + 0x165667b1 + lshift(a, 5))
    a = bxor(tobit(a + 0xd3a2646c), lshift(a, 9))
    a = tobit(a + 0xfd7046c5 + lshift(a, 3))
    return bxor(a, 0xb55a4f09, rshift(a, 16))
end

-- Consistent: every peer draws a number from the key and its own name, and the best draw wins.
-- nginx's own ring of points costs sorting at every change, this a look at every peer at every
-- request, which for 64 of them is less than parsing the request.
local function rendezvous(key, service, request, now, demand)
    local hash = tobit(crc32(key))
    local best
    local highest = -math.huge
    for i = 1, service.count do
        local peer = service.usable[i]
        if is_open(peer, request, now, demand) then
            local draw = (mixed(bxor(hash, peer.seed)) % 4294967296 + 0.5) / 4294967296
            local score = -peer.weight / log(draw)
            if score > highest then
                highest, best = score, peer
            end
        end
    end
    return best
end

function choices.hash(service, request, now, demand)
    local key = ngx.var[service.hash_key]
    if not key or key == "" then        -- nothing to hash: nginx does so too
        return round_robin(service, request, now, demand)
    elseif service.hash == "consistent" then
        return rendezvous(key, service, request, now, demand)
    end
    local hash = 0
    for rehash = 0, REHASHES - 1 do
        hash = hash + band(rshift(crc32(rehash == 0 and key or rehash .. key), 16), 0x7fff)
        local peer = open_owner(service, hash, request, now, demand)
        if peer then
            return peer
        end
    end
    return round_robin(service, request, now, demand)
end

-- One open peer by weight, but not `except`.
local function drawn(except, service, request, now, demand)
    local total = 0
    local chosen
    for i = 1, service.count do
        local peer = service.usable[i]
        if peer ~= except and is_open(peer, request, now, demand) then
            total = total + peer.weight
            if random() * total < peer.weight then
                chosen = peer           -- in the end each is it with probability weight / total
            end
        end
    end
    return chosen
end

function choices.random_two(service, request, now, demand)
    local one = drawn(nil, service, request, now, demand)
    local other = one and drawn(one, service, request, now, demand)
    if other and (other.mine + other.others) * one.weight < (one.mine + one.others) * other.weight
    then
        return other
    end
    return one
end

-- The most that may be asked of a peer for this request such that anybody fulfils it.
local function most(service, request, now)
    if request.tried == 0 and service.failing_until <= now then
        return ROOM         -- and more: nobody fails, and it has tried nobody
    end
    local demand = ROOM
    for i = 1, service.count do
        local peer = service.usable[i]
        if not is_tried(request, peer) then
            if peer.failing_until <= now then
                return CALM
            end
            demand = UNTRIED
        end
    end
    return demand
end

-- A peer for this request, nil when none is open. It is not counted yet.
function M.choose(service, request, now)
    return choices[service.policy](service, request, now, most(service, request, now))
end

local function is_any(service, request, now, demand)
    for i = 1, service.count do
        if is_open(service.usable[i], request, now, demand) then
            return true
        end
    end
    return false
end

function M.is_any_open(service, request, now)
    return is_any(service, request, now, most(service, request, now))
end

-- Whether there is one that it has not tried.
function M.has_another(service, request, now)
    local demand = most(service, request, now)
    return demand > ROOM and is_any(service, request, now, demand)
end

-- Whether any is usable that this request, which has tried some, has not tried.
function M.has_untried(service, request, now)
    return most(service, request, now) > ROOM
end

-- Whether any has room, even if this request has tried it.
function M.has_room(service, request, now)
    return is_any(service, request, now, ROOM)
end

return M
