-- The hold tier: requests wait here, in the order in which they came, while no instance of their
-- service is alive or each has all that it takes. They go the moment one can take them.
--
-- A queue belongs to one service in one worker. Whoever is first in it looks every few
-- milliseconds whether an instance has become free (`turn`); the others sleep on a semaphore of
-- their own, so waiting costs nothing, and needs no timer, which a worker that is to end could not
-- have. A request that ends in this worker makes room and looks at once.
--
-- A waiting request has `place`, its number in the queue, and later `told`: "go", or why it is to
-- give up. Between "go" and its choice of an instance it is one of `going`, so that nobody who
-- comes in that moment overtakes it.

local semaphore = require "ngx.semaphore"
local clock = require "clock"
local peers = require "peers"
local policies = require "policies"
local settings = require "settings"

local ceil, max = math.ceil, math.max

local POLL_S = 0.005
local LONG_S = 60           -- who is not first is woken by others; this is only for a lost wake-up

local M = {}

function M.new()
    return { first = 1, last = 0, waiting = 0, going = 0 }
end

-- Whether a request that comes now may go at once, as far as those before it are concerned.
function M.is_empty(service)
    return service.queue.waiting == 0 and service.queue.going == 0
end

local function wake(request)
    request.semaphore:post(1)
end

local function append(queue, request)
    request.semaphore = request.semaphore or semaphore.new(0)
    queue.last = queue.last + 1
    queue[queue.last] = request
    request.place, request.told = queue.last, nil
    queue.waiting = queue.waiting + 1
end

-- Back to the head: it was told to go, and another worker was faster.
local function put_first(queue, request)
    queue.first = queue.first - 1
    queue[queue.first] = request
    request.place, request.told = queue.first, nil
    queue.waiting = queue.waiting + 1
end

-- Out of the queue, wherever it is; who becomes first by that must begin to look.
local function remove(queue, request)
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
end

local function is_late(service, request, now)
    if service.count == 0 then
        return now - request.since >= settings.hold_ms and "dead_late"
    end
    return now - max(request.since, service.since) >= settings.queue_ms and "busy_late"
end

-- Tell those at the head of the queue what to do, as far as something is to be told.
function M.turn(service, now)
    local queue = service.queue
    local room = policies.room(service) - queue.going
    while queue.waiting > 0 do
        local request = queue[queue.first]
        local may_go = room > 0 and policies.is_any_open(service, request, now)
        local told = may_go and "go" or is_late(service, request, now)
        if not told then
            break
        end
        remove(queue, request)
        request.told = told
        if told == "go" then
            room = room - 1
            queue.going = queue.going + 1
        end
        wake(request)
    end
    local head = queue[queue.first]
    if head and head ~= queue.looking then
        wake(head)
    end
    queue.looking = head
end

-- Sleep until something is told, or, as the first, for one look at what others do.
local function sleep(service, request)
    local queue = service.queue
    if queue[queue.first] ~= request then
        request.semaphore:wait(LONG_S)
        return
    end
    queue.looking = request
    local now = clock()
    peers.refresh(now)
    M.turn(service, now)
    if not request.told then
        request.semaphore:wait(POLL_S)
    end
end

-- Wait until `admit(service, request, now)` says that an instance has taken this request. Returns
-- nothing then, or why the request is to give up.
function M.wait(service, request, admit)
    local queue = service.queue
    if queue.waiting >= ceil(settings.hold_max / settings.workers) then
        return service.count == 0 and "dead_full" or "busy_full"
    end
    request.since = clock()
    append(queue, request)
    while true do
        while not request.told do
            sleep(service, request)
        end
        local told = request.told
        request.told = nil
        if told ~= "go" then
            return told
        end
        queue.going = queue.going - 1
        if admit(service, request, clock()) then
            return nil
        end
        put_first(queue, request)
        request.semaphore:wait(POLL_S)
    end
end

-- The client of a waiting request has gone.
function M.forget(service, request)
    local queue = service.queue
    if request.place then
        remove(queue, request)
    elseif request.told == "go" then
        queue.going = queue.going - 1
    end
    request.told = nil
    M.turn(service, clock())
end

return M
