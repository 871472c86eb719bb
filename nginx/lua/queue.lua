-- The request queue: requests wait here, in the order in which they came, while no instance of
-- their service is alive or each has all that it takes.
--
-- Every worker has a queue for each service. Its first waiter looks every few milliseconds whether
-- an instance can take it, and so does a suspect for which one is kept; the others sleep. Whoever
-- leaves wakes the first of the others, and so does a request that ends in this worker. A wake-up
-- too many only makes a waiter look; one too few costs no more than the waiter's own limit.
--
-- Waiters overtake each other within two bounds (docs/request-queue.md): `OVERTAKES` in a worker (or
-- any number, once an instance is kept for the first), and `AHEAD_MS` between workers.

local semaphore = require "ngx.semaphore"
local clock = require "clock"
local counts = require "counts"
local peers = require "peers"
local policies = require "policies"
local settings = require "settings"

local ceil, max, min = math.ceil, math.max, math.min

local POLL_MS = 5
local OVERTAKES = 32
local AHEAD_MS = 100
local PUBLISHED_S = 0.1     -- a worker that is stopped or killed must not keep the others waiting

local M = {}

function M.new()
    return { first = 1, last = 0, waiting = 0 }
end

local function rouse(request)
    if not request.woken then
        request.woken = true
        request.semaphore:post(1)
    end
end

function M.wake(service)
    local first = service.queue[service.queue.first]
    if first then
        rouse(first)
    end
end

function M.leave(service, request)
    local queue = service.queue
    if queue.first == request.place then
        counts.publish(service, nil)
    end
    queue[request.place] = false
    request.place = nil
    queue.waiting = queue.waiting - 1
    while queue.first <= queue.last and not queue[queue.first] do
        queue[queue.first] = nil
        queue.first = queue.first + 1
    end
    if queue.first > queue.last then
        queue.first, queue.last = 1, 0
    end
    M.wake(service)
end

-- Whether another worker's first waiter came so much earlier that it goes before one of `since`.
local function is_after_another(service, since, now)
    local earliest = counts.published(service, now)
    return earliest and since - earliest > AHEAD_MS
end

-- Whether a request that comes now may go without waiting, as far as others are concerned.
function M.is_free(service, now)
    return service.queue.waiting == 0 and not is_after_another(service, now, now)
end

-- How long a waiter may still wait (ms), and what becomes of it then.
local function time_left(service, request, now)
    local dead_till = request.since + settings.queue_timeout_ms
    if service.count == 0 then
        return dead_till - now, "down_queue_timeout"
    end
    -- Neither an outage in between nor what the page has waited counts as being busy; yet it does
    -- not go on for ever.
    local busy_since = min(max(request.arrived, service.since), dead_till)
    return busy_since + settings.queue_busy_timeout_ms - now, "busy_queue_timeout"
end

-- The first waiter cannot go although there is room: let the next one pass that can.
local function let_pass(service, request, now)
    local queue = service.queue
    if request.overtaken >= OVERTAKES and not request.slot then
        return
    end
    for place = queue.first + 1, queue.last do
        local other = queue[place]
        if other and policies.is_any_open(service, other, now) then
            other.may_pass = true
            return rouse(other)
        end
    end
end

-- Whether an instance takes this waiter now.
local function goes(service, request, now, admit)
    local queue = service.queue
    local first = queue[queue.first]
    if first ~= request and not request.may_pass and not request.slot then
        return false
    end
    request.may_pass = false
    if is_after_another(service, request.since, now) or not admit(service, request, now) then
        return false
    end
    if first ~= request then
        first.overtaken = first.overtaken + 1
    end
    return true
end

-- A first waiter that cannot go lets others pass, or publishes that it waits.
local function yield(service, request, now)
    if policies.has_room(service, request, now) then
        counts.publish(service, nil)
        let_pass(service, request, now)
    else
        counts.publish(service, request.since, PUBLISHED_S)
    end
end

-- Wait until `admit(service, request, now)` says that an instance has taken this request. Returns
-- nothing then, or why the request is to give up. The wait of its page so far (`before`) counts.
function M.wait(service, request, admit)
    local queue = service.queue
    if queue.waiting >= ceil(settings.queue_max / settings.workers) then
        return service.count == 0 and "down_queue_full" or "busy_queue_full"
    end
    request.arrived = clock()
    request.since = request.arrived - request.before
    request.semaphore = request.semaphore or semaphore.new(0)
    request.overtaken, request.may_pass = 0, false
    queue.last = queue.last + 1
    queue[queue.last] = request
    request.place = queue.last
    queue.waiting = queue.waiting + 1
    while true do
        local now = clock()
        peers.refresh(now)
        if goes(service, request, now, admit) then
            M.leave(service, request)
            return nil
        end
        local left, why = time_left(service, request, now)
        if left <= 0 then
            M.leave(service, request)
            return why
        end
        local is_first = queue[queue.first] == request
        if is_first then
            yield(service, request, now)
        end
        if is_first or request.slot then
            left = min(left, POLL_MS)
        end
        request.semaphore:wait(left / 1000)
        request.woken = false
    end
end

return M
