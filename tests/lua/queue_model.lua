-- A model of the request queue: nginx/lua/queue.lua, counts.lua and policies.lua as they are, two
-- workers, a virtual clock, and all orders of what happens.
--
--   luajit tests/lua/queue_model.lua nginx/lua
--
-- A request is a coroutine. Those of one worker take turns only where they wait, as in nginx; those
-- of two workers also at every look at the shared dictionary. Whoever could go on is chosen from,
-- in every way (depth first, by replaying a list of choices), with `PREEMPTIONS` switches between
-- workers at most where none was needed. Each run ends with every request served or given up.

local FOLDER = assert(arg[1], "luajit queue_model.lua FOLDER-OF-THE-MODULES")
local PREEMPTIONS = 2
local RUNS_AT_MOST = 6000
local POLL_MS = 5           -- as in queue.lua
local HOLD_MS, QUEUE_MS = 40, 30
local AHEAD_MS = 12         -- queue.lua has 100

local world                 -- of the run that is under way

-- Choices.

local function choose(n)
    if n == 1 then
        return 1
    end
    local at = world.chosen + 1
    world.chosen = at
    local choice = world.choices[at]
    if not choice then
        choice = { now = 1, of = n }
        world.choices[at] = choice
    end
    return choice.now
end

-- The list for the next run: the last choice that has another way; false when there is none.
local function another(choices)
    while #choices > 0 do
        local last = choices[#choices]
        if last.now < last.of then
            last.now = last.now + 1
            return true
        end
        choices[#choices] = nil
    end
    return false
end

-- What the modules need of nginx.

local dict = {}

local function look()
    if coroutine.running() and world.thread then
        coroutine.yield("look")
    end
end

function dict:get(key)
    look()
    local found = world.shared[key]
    if found and found.till and found.till <= world.now then
        world.shared[key] = nil
        return nil
    end
    return found and found.value
end

function dict:set(key, value, seconds)
    look()
    local till = seconds and seconds > 0 and world.now + seconds * 1000 or nil
    world.shared[key] = value ~= nil and { value = value, till = till } or nil
end

function dict:add(key, value, seconds)
    if self:get(key) ~= nil then
        return false
    end
    self:set(key, value, seconds)
    return true
end

function dict:delete(key)
    self:set(key, nil)
end

function dict:get_keys()
    local keys = {}
    for key in pairs(world.shared) do
        keys[#keys + 1] = key
    end
    return keys
end

local semaphores = {}
semaphores.__index = semaphores

function semaphores:post()
    self.count = self.count + 1
end

function semaphores:wait(seconds)
    self.till = world.now + math.max(1, seconds * 1000)
    coroutine.yield("wait", self)
end

local chunks = {}

-- The code as it is, but for one time that would make the model's runs too long.
local function chunk_of(name)
    if not chunks[name] then
        local file = assert(io.open(FOLDER .. "/" .. name .. ".lua"))
        local text = file:read("*a"):gsub("AHEAD_MS = 100", "AHEAD_MS = " .. AHEAD_MS)
        file:close()
        chunks[name] = assert(loadstring(text, "@" .. name .. ".lua"))
    end
    return chunks[name]
end

-- A worker: the modules, loaded once more, around an `ngx` of its own.
local function new_worker(id)
    local ngx = {
        shared = { bulkhead = dict },
        worker = { id = function() return id end, pid = function() return 100 + id end },
        crc32_long = function() return 1 end,
        var = {},
    }
    local loaded = {
        bit = require "bit",
        clock = function() return world.now end,
        settings = {
            workers = 2, queue_timeout_ms = HOLD_MS, queue_busy_timeout_ms = QUEUE_MS, queue_max = 100,
        },
        ["ngx.semaphore"] = { new = function() return setmetatable({ count = 0 }, semaphores) end },
    }
    local worker = { id = id }
    loaded.peers = { refresh = function(now) worker.refresh(now) end }
    local function load_module(name)
        if loaded[name] == nil then
            local chunk = chunk_of(name)
            local environment = { ngx = ngx, require = load_module }
            setfenv(chunk, setmetatable(environment, { __index = _G }))
            loaded[name] = chunk()
        end
        return loaded[name]
    end
    worker.queue, worker.counts = load_module("queue"), load_module("counts")
    worker.policies = load_module("policies")
    worker.counts.start()
    worker.service = {
        name = "api", policy = "least_conn", all = {}, n = 0, usable = {}, count = 0, since = 0,
        failing_until = 0, queue = worker.queue.new(),
    }
    for i, peer in ipairs(world.peers) do
        local own = { name = peer.name, max = peer.max, weight = 1, current = 0, failing_until = 0 }
        worker.counts.init(own, peer.name)
        own.world, own.boot = peer, "1"
        worker.service.all[i] = own
        worker.service.n = i
    end
    function worker.refresh(now)
        local service, count = worker.service, 0
        for _, peer in ipairs(service.all) do
            if peer.world.up then
                count = count + 1
                service.usable[count] = peer
            end
        end
        if service.count == 0 and count > 0 then
            service.since = now
        end
        service.count = count
        worker.counts.refresh(service.all, service.n, now, now == 0)
    end
    return worker
end

-- Requests.

-- As in requests.lua.
local function admit(worker)
    local function go(service, request, now)
        local peer = worker.policies.choose(service, request, now)
        if not peer then
            return false
        elseif worker.counts.enter(peer) then
            request.peer = peer
            return true
        end
        return go(service, request, now)
    end
    return go
end

local function check(ok, what)
    if not ok then
        local orders = {}
        for i, choice in ipairs(world.choices) do
            orders[i] = choice.now
        end
        error(("%s: %s at %d ms\n%s\nchoices %s"):format(world.scenario.name, what, world.now,
            table.concat(world.story, "\n"), table.concat(orders, " ")), 0)
    end
end

local function tell(request, what)
    world.story[#world.story + 1] = ("%4d ms  %s %s"):format(world.now, request.name, what)
end

local function serve(request)
    local worker, service = request.worker, request.worker.service
    request.came = world.now
    worker.refresh(world.now)
    if not (worker.queue.is_free(service, world.now) and admit(worker)(service, request, world.now)) then
        tell(request, "waits")
        local why = worker.queue.wait(service, request, admit(worker))
        if why then
            tell(request, why)
            request.gave_up = why
            return
        end
    end
    request.went = world.now
    tell(request, "goes to " .. request.peer.name)
    local peer = request.peer.world
    peer.busy = peer.busy + 1
    check(peer.busy <= peer.max, "above max_in_flight")
    for _, other in ipairs(world.requests) do
        if other ~= request and other.worker == worker and other.place and other.came < request.came
            and not other.wants
        then
            check(false, request.name .. " overtakes " .. other.name)
        end
    end
    coroutine.yield("sleep", world.now + request.takes)
    peer.busy = peer.busy - 1
    tell(request, "is done")
    worker.counts.leave(request.peer)
    worker.queue.wake(service)
end

-- The scheduler.

local function is_runnable(request)
    if request.over or request.begins > world.now then
        return false
    elseif request.waits then
        return request.waits.count > 0 or request.waits.till <= world.now
    end
    return not request.sleeps or request.sleeps <= world.now
end

local function resume(request)
    if request.waits then
        request.waits.count = math.max(0, request.waits.count - 1)
        request.waits = nil
    end
    request.sleeps = nil
    world.thread = request
    local ok, how, what = coroutine.resume(request.thread, request)
    world.thread = nil
    if not ok then
        error(how, 0)
    end
    request.worker.running = how == "look" and request or nil
    if how == "wait" then
        request.waits = what
    elseif how == "sleep" then
        request.sleeps = what
    elseif how == nil then
        request.over = true
    end
end

-- A waiter that leaves: nginx ends its request where it waits.
local function abandon(request)
    if not request.over and request.place and not request.worker.running then
        tell(request, "leaves")
        request.over = true
        request.gave_up = "left"
        world.thread = nil
        request.worker.queue.leave(request.worker.service, request)
    end
end

-- Everybody who may take the next step: of each worker the one that runs, else all that could.
local function candidates()
    local found = {}
    for _, worker in ipairs(world.workers) do
        if worker.running then
            found[#found + 1] = worker.running
        else
            for _, request in ipairs(world.requests) do
                if request.worker == worker and is_runnable(request) then
                    found[#found + 1] = request
                end
            end
        end
    end
    return found
end

local function step()
    local found = candidates()
    if #found == 0 then
        return false
    end
    -- Going on with the one that runs is the first choice; to switch costs a preemption.
    local last = world.last
    if last and last.worker.running == last and world.preemptions >= PREEMPTIONS then
        resume(last)
        return true
    end
    if last and last.worker.running == last then
        for i, request in ipairs(found) do
            if request == last then
                table.remove(found, i)
                table.insert(found, 1, last)
                break
            end
        end
    end
    local request = found[choose(#found)]
    if last and last.worker.running == last and request ~= last then
        world.preemptions = world.preemptions + 1
    end
    world.last = request
    resume(request)
    return true
end

-- With nothing left to do at this moment: nobody who could go has been waiting for long.
local function check_waiters()
    for _, request in ipairs(world.requests) do
        if request.place and not request.over then
            local open = false
            for _, peer in ipairs(world.peers) do
                open = open or peer.up and peer.busy < peer.max and peer.name ~= request.wants_not
            end
            request.open_since = open and (request.open_since or world.now) or nil
            check(not open or world.now - request.open_since <= POLL_MS + 1,
                request.name .. " sleeps though an instance is free")
            check(world.now - request.came <= HOLD_MS + QUEUE_MS + POLL_MS,
                request.name .. " waits beyond its limits")
        end
    end
end

local function run(scenario, choices)
    world = {
        scenario = scenario, choices = choices, chosen = 0, now = 0, shared = {}, preemptions = 0,
        story = {}, peers = {}, workers = {}, requests = {},
    }
    for i, peer in ipairs(scenario.peers) do
        world.peers[i] = { name = "api-" .. i, max = peer.max, up = peer.up ~= false, busy = 0 }
    end
    world.workers = { new_worker(0), new_worker(1) }
    for i, one in ipairs(scenario.requests) do
        local worker = world.workers[one.worker]
        local request = {
            name = "R" .. i, worker = worker, begins = one.at or 0, takes = one.takes or 7,
            before = one.before or 0, tried = 0, peers = {}, boots = {}, thread = coroutine.create(serve),
        }
        if one.tried then
            request.tried, request.wants = 1, true
            request.peers[1], request.boots[1] = worker.service.all[one.tried], "1"
            request.wants_not = "api-" .. one.tried
        end
        world.requests[i] = request
    end
    while true do
        for _, event in ipairs(scenario.events or {}) do
            if event.at == world.now then
                if event.leaves then
                    abandon(world.requests[event.leaves])
                else
                    world.peers[event.peer].up = event.up
                end
            end
        end
        while step() do end
        check_waiters()
        local over = true
        for _, request in ipairs(world.requests) do
            over = over and request.over
        end
        if over then
            break
        end
        world.now = world.now + 1
        check(world.now < 500, "does not end")
    end
    for _, worker in ipairs(world.workers) do
        check(worker.service.queue.waiting == 0, "a queue is not empty")
        for _, peer in ipairs(worker.service.all) do
            check(peer.mine == 0, "a place is not free")
        end
    end
    if scenario.expects then
        scenario.expects(world.requests, check)
    end
end

local function all_go(requests, must)
    for _, request in ipairs(requests) do
        must(request.went, request.name .. " is not served")
    end
end

local SCENARIOS = {
    { name = "one place, all at once", peers = { { max = 1 } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 1 }, { worker = 2 } } },
    { name = "one place, one after the other", peers = { { max = 1 } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 2, at = 1 }, { worker = 1, at = 2 } } },
    { name = "three in one worker", peers = { { max = 1 } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 1 }, { worker = 1 } } },
    { name = "a newcomer comes as a place is free", peers = { { max = 1 } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 1, at = 1 }, { worker = 1, at = 7 } } },
    { name = "two instances", peers = { { max = 1 }, { max = 1 } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 2 }, { worker = 2 } } },
    { name = "nobody alive, then one", peers = { { max = 1, up = false } }, expects = all_go,
      requests = { { worker = 1 }, { worker = 1 }, { worker = 2 } },
      events = { { at = 8, peer = 1, up = true } } },
    { name = "nobody alive, then two places", peers = { { max = 2, up = false } },
      expects = all_go, requests = { { worker = 1 }, { worker = 1 }, { worker = 2 } },
      events = { { at = 3, peer = 1, up = true } } },
    { name = "nobody comes", peers = { { max = 1, up = false } },
      requests = { { worker = 1 }, { worker = 1, at = 3 }, { worker = 2 } },
      expects = function(requests, must)
          for _, request in ipairs(requests) do
              must(request.gave_up == "down_queue_timeout", request.name .. " is held for ever")
          end
      end },
    { name = "it dies and is back, again and again", peers = { { max = 1 } },
      requests = { { worker = 1 }, { worker = 1 }, { worker = 2 } }, expects = all_go,
      events = { { at = 2, peer = 1, up = false }, { at = 6, peer = 1, up = true },
                 { at = 9, peer = 1, up = false }, { at = 12, peer = 1, up = true } } },
    { name = "the first of the queue leaves", peers = { { max = 1 } },
      requests = { { worker = 1, takes = 12 }, { worker = 1 }, { worker = 1 } },
      events = { { at = 4, leaves = 2 } } },
    { name = "both first ones leave as a place is free", peers = { { max = 1 } },
      requests = { { worker = 2 }, { worker = 1 }, { worker = 1 } },
      events = { { at = 7, leaves = 2 }, { at = 7, leaves = 1 } } },
    { name = "it is busy for too long", peers = { { max = 1 } },
      requests = { { worker = 1, takes = 60 }, { worker = 1 }, { worker = 2 } },
      expects = function(requests, must)
          must(requests[2].gave_up == "busy_queue_timeout" and requests[3].gave_up == "busy_queue_timeout", "no end")
      end },
    -- The page has waited longer for another service than a request may wait for a busy one.
    { name = "its page has waited", peers = { { max = 1 } }, expects = all_go,
      requests = { { worker = 1, takes = 1 }, { worker = 1, at = 40 },
                   { worker = 1, at = 41, before = QUEUE_MS + 2 } } },
    { name = "another worker is faster", peers = { { max = 2 } }, expects = all_go,
      requests = { { worker = 1, takes = 9 }, { worker = 2, takes = 5 },
                   { worker = 1, at = 1, takes = 25 }, { worker = 1, at = 2 },
                   { worker = 2, at = 6 } } },
    { name = "another worker is faster, and then a place is free", peers = { { max = 2 } },
      requests = { { worker = 1, takes = 9 }, { worker = 1, takes = 11 },
                   { worker = 1, at = 1, takes = 25 }, { worker = 1, at = 2 },
                   { worker = 2, at = 9 } }, expects = all_go },
    { name = "another worker has a request whenever a place is free", peers = { { max = 1 } },
      requests = { { worker = 1 }, { worker = 1, at = 7 }, { worker = 1, at = 14 },
                   { worker = 1, at = 21 }, { worker = 1, at = 28 }, { worker = 2, at = 1 } },
      expects = function(requests, must)
          all_go(requests, must)
          must(requests[6].went <= 1 + AHEAD_MS + 7 + 7 + POLL_MS, "it is overtaken again and again")
      end },
    { name = "the first one wants the instance that is full", peers = { { max = 1 }, { max = 1 } },
      requests = { { worker = 2, takes = 20, tried = 2 }, { worker = 1, at = 1, tried = 2 },
                   { worker = 1, at = 2 } },
      expects = function(requests, must)
          all_go(requests, must)
          must(requests[3].went <= 3 + POLL_MS, "it waits behind one who cannot go")
      end },
}

local total = 0
for _, scenario in ipairs(SCENARIOS) do
    local choices, runs = {}, 0
    repeat
        run(scenario, choices)
        runs = runs + 1
    until runs == RUNS_AT_MOST or not another(choices)
    total = total + runs
    print(("%6d orders%s  %s"):format(runs, runs == RUNS_AT_MOST and " (not all)" or "",
        scenario.name))
end
print(total .. " orders, no violation")
