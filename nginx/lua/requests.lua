-- The story of one request, phase by phase:
--
--   first     access: choose an instance, or wait in the hold tier until there is one
--   attempt   balancer: tell nginx which one; called again for each further try of this pass
--   answered  header filter: the instance has done its work
--   again     access, after a pass has failed: may it be repeated? then wait, and try once more
--   done      log: whatever happened, nothing of it stays
--
-- nginx clears ngx.ctx when it jumps to a named location, so what is known of a request is kept
-- here, under the address of nginx's own record of it, which stays the same for all of its life.

local ffi = require "ffi"
local balancer = require "ngx.balancer"
local get_request = require("resty.core.base").get_request
local budget = require "budget"
local clock = require "clock"
local closing = require "closing"
local counts = require "counts"
local hold = require "hold"
local peers = require "peers"
local policies = require "policies"
local settings = require "settings"

-- nginx follows ten jumps: one on the way in, two more in a worker that is closing, one for each
-- pass that failed, and two on the way out.
local PASSES, PASSES_CLOSING = 7, 5
local TRIES_IN_ALL = 3      -- times `tries`, which is for the first pass
local PAUSE_MS = 100        -- before the first repetition at an instance that failed; then doubled
local LOOK_S = 0.005
local CUT = 502             -- nginx's name for a try that was refused, reset or closed
local TIMED_OUT = 504       -- and for one that nobody answered in time
local BUSY = -3             -- NGX_BUSY: no live upstream, says a balancer to nginx
local CALM_MS = 500         -- so long an instance that failed a request is the last choice

local M = {}
local requests = {}         -- by address
local spare, spares = {}, 0 -- records to be used again: a busy worker makes no garbage
local address_type = ffi.typeof("uintptr_t")

local function address()
    local number = tonumber(ffi.cast(address_type, get_request()))
    return number
end

local function begin(key, service, class, now)
    local request = spare[spares]
    if request then
        spare[spares], spares = nil, spares - 1
    else
        request = { peers = {}, boots = {} }
    end
    request.service, request.class = service, class
    request.started, request.held = now, 0
    request.pass, request.tried = 1, 0
    request.peer, request.counted, request.chosen, request.closing = nil, false, false, false
    requests[key] = request
    budget.earn(service)
    return request
end

-- Choose an instance and count the request there; false when none has room.
local function admit(service, request, now)
    local peer = policies.choose(service, request, now)
    if not peer then
        return false
    elseif counts.enter(peer) then
        request.peer, request.counted, request.chosen = peer, true, true
        return true
    end
    return admit(service, request, now)     -- it was full after all, and is known to be now
end

-- The instance has no more to do with this request: somebody who waits may have its place.
local function leave(request)
    request.counted = false
    counts.leave(request.peer)
    if request.service.queue.waiting > 0 then
        hold.turn(request.service, clock())
    end
end

local function failed(request)
    local peer, until_ = request.peer, clock() + CALM_MS
    peer.failing_until, request.service.failing_until = until_, until_
    if request.counted then
        leave(request)
    end
end

local function give_up(why)
    ngx.var.gave_up = why
    return ngx.exit(503)
end

local function held_since(request, from)
    request.held = request.held + clock() - from
    ngx.var.held = ("%.3f"):format(request.held / 1000)
end

-- Be admitted, now or after a wait in the hold tier.
local function enter(service, request, now)
    if hold.is_empty(service) and admit(service, request, now) then
        return
    end
    local from = clock()
    local why = hold.wait(service, request, admit)
    held_since(request, from)
    if why then
        return give_up(why)
    end
end

function M.first(name, class)
    local key = address()
    local now = clock()
    local request = requests[key]
    peers.refresh(now)
    if not request or not request.closing then
        request = begin(key, peers.services[name], class, now)
        if closing.asked(now) then
            request.closing = true
            return ngx.exec("@" .. name .. "_closing")      -- which leads here again
        end
    end
    return enter(request.service, request, now)
end

-- Note who is tried, and what it was then: after a restart it is another.
local function note(request, peer)
    request.tried = request.tried + 1
    request.peers[request.tried], request.boots[request.tried] = peer, peer.boot
end

local function tries_left(request)
    return settings.tries * TRIES_IN_ALL - request.tried
end

-- Whether nginx may move on if this try fails, without coming back here for a wait. In a further
-- pass its location says what a failure is for both classes, so class once stays with one try.
local function may_move_on(service, request)
    if request.pass == 1 then
        if request.tried >= settings.tries then
            return false
        end
    elseif request.class == "once" or tries_left(request) == 0 then
        return false
    end
    return budget.has(service) and policies.has_another(service, request, clock())
end

-- Whether any instance can have read any of it. nginx has no connect time where none was made.
local function was_sent()
    return ngx.var.upstream_connect_time:find("%d") ~= nil
end

function M.attempt()
    local request = requests[address()]
    local service = request.service
    if not request.chosen then          -- the try before this one has failed
        local now = clock()
        local _, status = balancer.get_last_failure()
        failed(request)
        -- nginx guards POST, PATCH and LOCK, no other method; and a kept connection that was closed
        -- has its try given back, where a further pass allows it.
        if request.class == "once" and was_sent() then
            return ngx.exit(BUSY)       -- the pass ends, and `again` ends the request
        end
        peers.refresh(now)
        if not admit(service, request, now) then
            return ngx.exit(BUSY)       -- whoever had room has none now: the pass ends
        elseif status ~= CUT then
            budget.spend(service)
        end
    end
    request.chosen = false
    local peer = request.peer
    note(request, peer)
    if may_move_on(service, request) then
        balancer.set_more_tries(1)
    end
    local ok, wrong = balancer.set_current_peer(peer.host, peer.port)
    if not ok then
        ngx.log(ngx.ERR, peer.name, ": ", wrong)
    end
end

-- An answer of known length has been made in full, and nginx stores what its client does not read:
-- the place is free. One of unknown length may be still in the making.
function M.answered()
    local request = requests[address()]
    if request and request.counted and ngx.header["Content-Length"] then
        leave(request)
    end
end

local function last_status()
    return tonumber(ngx.var.upstream_status:match("%d+$"))
end

local function over()
    return ngx.exec(last_status() == TIMED_OUT and "@over_504" or "@over_502")
end

-- Everybody who is up has failed this request a moment ago: give them time, and the watchdog.
local function pause(service, request)
    local from = clock()
    local till = from + PAUSE_MS * 2 ^ (request.pass - 2)
    while clock() < till and service.count > 0 and not policies.has_untried(service, request) do
        ngx.sleep(LOOK_S)
        peers.refresh(clock())
    end
    if clock() > from then
        held_since(request, from)
    end
end

function M.again()
    local request = requests[address()]
    local service = request.service
    failed(request)
    request.pass = request.pass + 1
    if request.class == "once" and was_sent()
        or request.pass > (request.closing and PASSES_CLOSING or PASSES)
        or tries_left(request) <= 0
        or clock() - request.started >= settings.tries_ms + settings.hold_ms
    then
        return over()
    end
    if last_status() == TIMED_OUT then
        if not budget.has(service) then
            return give_up("retry_budget")
        end
        budget.spend(service)
    end
    peers.refresh(clock())
    pause(service, request)
    return enter(service, request, clock())
end

function M.done()
    local key = address()
    local request = requests[key]
    if not request then
        return
    end
    requests[key] = nil
    if request.counted then
        leave(request)
    end
    if request.place or request.told then
        hold.forget(request.service, request)
    end
    spares = spares + 1
    spare[spares] = request
end

function M.start()
    math.randomseed(ngx.worker.pid())
    closing.start()
    counts.start()
    peers.start()
    for _, service in pairs(peers.services) do
        service.budget, service.queue = budget.new(), hold.new()
    end
end

M.stop = peers.stop

return M
