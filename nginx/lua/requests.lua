-- The story of one request, phase by phase:
--
--   first_round   access: choose an instance, or wait in the queue until there is one
--   attempt       balancer: tell nginx which one; called again for each further try of this round
--   answered      header filter: the instance has done its work
--   next_round    access, after a round of tries has failed: may it be retried? then wait, and retry
--   done          log: whatever happened, nothing of it stays
--
-- nginx clears ngx.ctx when it jumps to a named location, so what is known of a request is kept
-- here, under the address of nginx's own record of it, which stays the same for all of its life.

local balancer = require "ngx.balancer"
local clients = require "clients"
local clock = require "clock"
local counts = require "counts"
local peers = require "peers"
local policies = require "policies"
local queue = require "queue"
local record = require "record"
local settings = require "settings"
local suspects = require "suspects"

local max, min = math.max, math.min

-- nginx follows ten jumps: one on the way in, two more in a worker that is closing, one for each
-- round that failed, and two on the way out.
local ROUNDS, ROUNDS_CLOSING = 7, 5
local TRIES_IN_ALL = 3      -- times `tries`, which is for the first round
local PAUSE_MS = 100        -- before the first repetition at an instance that failed; then doubled
local LOOK_S = 0.005
local TIMED_OUT = 504       -- nginx's name for a try that nobody answered in time
local BUSY = -3             -- NGX_BUSY: no live upstream, says a balancer to nginx
local CALM_MS = 500         -- so long an instance that failed a request is the last choice
local WORD_MS = 20          -- within this time the watchdog has told of a death

local WAITED_S = 60         -- longer than any page goes on asking
local CLOSING_MS = 50       -- how old `is_closing` may be: one open(2) that fails in so much time

local M = {}
local waited = ngx.shared.waited
local requests = {}         -- by address
local spare, spares = {}, 0 -- records to be used again: a busy worker makes no garbage
local closing, closing_looked = false, -CLOSING_MS

-- Is this worker about to end? Then its answers close their connections, so that its clients are
-- gone before it is. To end a worker, create the file run/closing/PID.
local function is_closing(now)
    if now - closing_looked >= CLOSING_MS then
        closing_looked = now
        local file = io.open(settings.closing .. ngx.worker.pid())
        closing = file ~= nil
        if file then
            file:close()
        end
    end
    return closing
end

-- The retry budget of a service (docs/request-queue.md): each request adds `retry_share` of a retry,
-- and each retry takes one if its try before took an instance's time. What was promised is kept, so
-- the budget may be below zero.
local function spend_budget(service, request)
    if request.owes then
        service.budget, request.owes = service.budget - 1, false
    end
end

local function begin(key, service, class, now)
    local request = spare[spares]
    if request then
        spare[spares], spares = nil, spares - 1
    else
        request = { peers = {}, boots = {} }
    end
    request.service, request.class = service, class
    request.started, request.queued = now, 0
    request.round, request.tried = 1, 0
    request.deaths, request.hangs, request.deaths_before = 0, 0, service.deaths
    request.peer, request.counted, request.chosen, request.closing = nil, false, false, false
    request.trying, request.owes, request.suspect, request.slot = false, false, false, nil
    requests[key] = request
    service.budget = min(service.budget + settings.retry_share, settings.retry_burst)
    return request
end

-- A suspect has an instance for itself: the slot keeps others away, and it goes when all that was
-- there is done; nil until then.
local function choose_for_suspect(service, request, now)
    local peer = request.slot
    if peer and not peer.usable then
        suspects.free(peer)
        request.slot, peer = nil, nil
    end
    if not peer then
        peer = policies.choose(service, request, now)
        if not peer or not suspects.take(peer, service) then
            return nil
        end
        request.slot = peer
    end
    return counts.exact(peer) == 0 and peer or nil
end

-- Choose an instance and count the request there; false when none has room.
local function admit(service, request, now)
    local choose = request.suspect and choose_for_suspect or policies.choose
    local peer = choose(service, request, now)
    if not peer then
        return false
    elseif not counts.enter(peer) then
        -- It was full after all, and is known to be now: another one may have room.
        return not request.suspect and admit(service, request, now)
    end
    request.peer, request.counted, request.chosen = peer, true, true
    return true
end

-- The instance is done with this request: another one may have its place.
local function leave(request)
    if request.slot then
        suspects.free(request.slot)
        request.slot = nil
    end
    if request.counted then
        request.counted = false
        counts.leave(request.peer)
        queue.wake(request.service)
    end
end

-- The value of the last try in one of nginx's lists; nil for "-". A try that is just being prepared is
-- empty there.
local function of_last_try(list)
    return tonumber(list:match("([%d.-]+)[ ,:]*$"))
end

-- The try under way has failed.
local function failed(request, status)
    local peer, now = request.peer, clock()
    peer.failing_until, request.service.failing_until = now + CALM_MS, now + CALM_MS
    leave(request)
    if not request.trying then
        return
    end
    request.trying, request.died = false, false
    -- An instance that has sent anything, even if no header, lives.
    request.owes = status == TIMED_OUT or (of_last_try(ngx.var.upstream_bytes_received) or 0) > 0
    if not request.owes and of_last_try(ngx.var.upstream_connect_time) then
        -- It may be the fault of this request.
        request.died = now - request.try_began >= request.service.hang_ms or request.deaths > 0
        suspects.died(request)
    end
end

local function give_up(why)
    ngx.var.gave_up = why
    return ngx.exit(503)
end

-- A page asks for others through here, and its requests and their retries wait for the page: all
-- of it together, in all rounds, waits no longer than one request may. They name the page by the id
-- that it was given here.
local function page()
    local parent = ngx.var.http_x_parent_request
    return parent and #parent == 32 and parent or ngx.var.request_id
end

-- A wait begins now. `before` is how long the request, or its page, has waited already.
local function begin_wait(request)
    request.before = max(request.queued, waited:get(page()) or 0)
    return clock()
end

local function end_wait(request, from)
    local took = clock() - from
    request.queued = request.queued + took
    ngx.var.queued = ("%.3f"):format(request.queued / 1000)
    local total, key = request.before + took, page()
    if total > (waited:get(key) or 0) then
        waited:set(key, total, WAITED_S)
    end
end

-- Be admitted, now or after a wait in the queue.
local function enter(service, request, now)
    if not (queue.is_free(service, now) and admit(service, request, now)) then
        local from = begin_wait(request)
        local why = queue.wait(service, request, admit)
        end_wait(request, from)
        if why then
            return give_up(why)
        end
    end
    record.ignore_client_abort()
end

function M.first_round(name, class)
    clients.enter()
    record.read_body()
    local key = record.address()
    local now = clock()
    local request = requests[key]
    peers.refresh(now)
    if not request or not request.closing then
        request = begin(key, settings.services[name], class, now)
        if is_closing(now) then
            request.closing = true
            return ngx.exec("@" .. name .. "_closing")      -- which leads here again
        end
    end
    return enter(request.service, request, now)
end

local function tries_left(request)
    return settings.tries * TRIES_IN_ALL - request.tried
end

-- Whether nginx may retry if this try fails, without coming back here for a wait. In a further
-- round its location says what a failure is for both classes, so a non-retryable request has one try.
local function may_retry(service, request)
    if request.round == 1 then
        if request.tried >= settings.tries then
            return false
        end
    elseif request.class == "non_retryable" or tries_left(request) == 0 then
        return false
    end
    return service.budget >= 1 and policies.has_another(service, request, clock())
end

-- Whether any instance can have read any of it. nginx has no connect time where none was made.
local function was_sent()
    return ngx.var.upstream_connect_time:find("%d") ~= nil
end

-- A further try of this round, as nginx wants one; false when it must not be.
local function retry(service, request)
    local now = clock()
    local _, status = balancer.get_last_failure()
    failed(request, status)
    -- nginx gives the try of a kept connection back, promised or not. It guards POST, PATCH and
    -- LOCK, no other method. `next_round`, which can wait, looks at what may be deadly.
    if not request.promised or request.died or request.class == "non_retryable" and was_sent() then
        return false
    end
    peers.refresh(now)
    if not admit(service, request, now) then
        return false                    -- whoever had room has none now
    end
    spend_budget(service, request)
    return true
end

function M.attempt()
    local request = requests[record.address()]
    local service = request.service
    if not request.chosen and not retry(service, request) then
        return ngx.exit(BUSY)           -- the round ends, and `next_round` decides
    end
    request.chosen = false
    -- Note who is tried, and what it is now: after a restart it is another.
    local peer = request.peer
    request.tried, request.trying, request.try_began = request.tried + 1, true, clock()
    request.peers[request.tried], request.boots[request.tried] = peer, peer.boot
    request.promised = may_retry(service, request)
    if request.promised then
        balancer.set_more_tries(1)
    end
    local ok, wrong = balancer.set_current_peer(peer.host, peer.port)
    if not ok then
        ngx.log(ngx.ERR, peer.name, ": ", wrong)
    end
end

-- The header of an answer. An answer of known length that nginx can store has been made in full,
-- even if its client does not read it: the place is free. Any other may be still in the making.
function M.answered()
    local request = requests[record.address()]
    if request and request.counted then
        local length = tonumber(ngx.header["Content-Length"])
        if length and length <= settings.stored then
            leave(request)
        end
    end
end

local function last_status()
    return tonumber(ngx.var.upstream_status:match("%d+$"))
end

local function over(why)
    ngx.var.gave_up = why or ""
    return ngx.exec(last_status() == TIMED_OUT and "@over_504" or "@over_502")
end

-- Everybody who is up has failed this request a moment ago: give them time, and the watchdog.
local function pause(service, request)
    local from = begin_wait(request)
    local till = from + PAUSE_MS * 2 ^ (request.round - 2)
    while clock() < till and service.count > 0 and not policies.has_untried(service, request, clock()) do
        ngx.sleep(LOOK_S)
        peers.refresh(clock())
    end
    if clock() > from then
        end_wait(request, from)
    end
end

-- A process died with this request: did it hang before, and who else has died? The watchdog's word
-- on that may be on its way.
local function inquire(request)
    local now = clock()
    local till, may_be_hang = now + WORD_MS, now - request.try_began >= request.service.hang_ms
    repeat
        if may_be_hang and suspects.has_hung(request.peer, request.try_began) then
            suspects.hung(request)
            return
        end
        ngx.sleep(LOOK_S)
        peers.refresh(clock())
    until clock() >= till
end

-- Whether no other round may follow.
local function is_over(request)
    return request.class == "non_retryable" and was_sent()
        or request.round > (request.closing and ROUNDS_CLOSING or ROUNDS)
        or tries_left(request) <= 0
        or clock() - request.started >= settings.tries_ms + settings.queue_timeout_ms
end

function M.next_round()
    local request = requests[record.address()]
    local service = request.service
    failed(request, last_status())
    request.round = request.round + 1
    if request.died then
        request.died = false
        inquire(request)
        if suspects.is_poison(request) then
            return over("poison")
        end
    end
    if is_over(request) then
        return over()
    elseif record.has_left() then
        return ngx.exit(499)
    end
    if request.owes and service.budget < 1 then
        return give_up("retry_budget")
    end
    spend_budget(service, request)
    peers.refresh(clock())
    pause(service, request)
    return enter(service, request, clock())
end

function M.done()
    clients.leave()
    local key = record.address()
    local request = requests[key]
    if not request then
        return
    end
    requests[key] = nil
    if request.place then               -- its client left the queue
        queue.leave(request.service, request)
    end
    leave(request)
    spares = spares + 1
    spare[spares] = request
end

function M.start()
    math.randomseed(ngx.worker.pid())
    counts.start()
    peers.start()
    for _, service in pairs(settings.services) do
        service.budget, service.queue = settings.retry_burst, queue.new()
    end
end

M.stop = peers.stop

return M
