-- The instances, as the watchdog last told of them. The text is in the shared dictionary, so that
-- all workers know the same and a reload forgets nothing; each worker keeps what it parsed until
-- the text changes. A line an instance: SERVICE NAME ADDRESS WEIGHT STATE BOOT.
--
-- A service is {name, all, n, usable, count, ...}: all its peers in the table's order, and those
-- that may be chosen now. A peer is {name, host, port, weight, state, boot, max, ...}; it stays
-- the same Lua table for as long as its name and address stay the same, whatever its state.

local clock = require "clock"
local counts = require "counts"
local settings = require "settings"
local suspects = require "suspects"

local dict = ngx.shared.bulkhead

local BLIND_MS = 1000       -- told nothing for so long, nginx believes no state any more
local NOBODY = "nobody\n"    -- the table of a proxy that knows no instance yet
local STATES = { up = true, down = true, drained = true, hung = true }

local M = { blind = true }
local known = {}            -- every peer that there has been, by name and address
local all, n = {}, 0        -- the peers of the table
local version, checked = -1, -1

-- The problem of a line, or nil.
local function problem(service, name, address, weight, state)
    if not service then
        return "is not SERVICE NAME ADDRESS WEIGHT STATE BOOT"
    end
    local a, b, c, d, port = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+):(%d+)$")
    if not a or math.max(a, b, c, d) > 255 or port + 0 < 1 or port + 0 > 65535 then
        return "has no IPv4 address and port"
    elseif name:sub(1, #service + 1) ~= service .. "-" then
        return "names an instance of another service"
    elseif weight + 0 < 1 then
        return "has no weight"
    elseif not STATES[state] then
        return "has a state that is none of up, down, drained, hung"
    end
end

-- A table's lines as a list of records; nil and what is wrong with it when it is none.
function M.parse(text)
    local found, names = {}, {}
    if text == NOBODY then
        return found
    end
    for line in text:gmatch("[^\n]+") do
        local service, name, address, weight, state, boot =
            line:match("^(%l[%l%d]*) (%l[%l%d]*%-%d+[%l%d.-]*) (%S+) (%d+) (%l+) (%d+)$")
        local wrong = problem(service, name, address, weight, state)
            or names[name] and "names an instance for the second time"
        if wrong then
            return nil, ("line %d %s: %s"):format(#found + 1, wrong, line)
        end
        names[name] = true
        found[#found + 1] = {
            service = service, name = name, address = address, weight = tonumber(weight),
            state = state, boot = boot,
            id = name .. " " .. address,        -- the key of a peer, the same in every worker
        }
    end
    if #found == 0 then
        return nil, "there is no instance in it"
    end
    return found
end

-- In the master: begin with the rendered file, unless somebody has told of instances already.
function M.load()
    if dict:get("table") then
        return
    end
    local file = assert(io.open(settings.peers))
    local text = file:read("*a")
    file:close()
    local _, wrong = M.parse(text)
    if wrong then
        error(settings.peers .. ": " .. wrong)
    end
    dict:set("table", text)
    dict:incr("version", 1, 0)
end

-- Take a table from outside; what is wrong with it when it is none.
local function put(text)
    if text ~= dict:get("table") then
        local found, wrong = M.parse(text)
        if not found then
            return wrong
        end
        dict:set("table", text)
        dict:incr("version", 1)
        for _, record in ipairs(found) do
            if record.state == "hung" then
                suspects.note_hang(record.id, clock())
            end
        end
    end
    dict:set("told", clock())
end

-- In a new worker: the services that nginx.conf names, and what this worker knows of them.
function M.start()
    for name, service in pairs(settings.services) do
        service.name, service.hash_key = name, "hash_key_" .. name
        service.all, service.n, service.weight = {}, 0, 0
        service.usable, service.count, service.since = {}, 0, 0
        service.failing_until, service.deaths = 0, 0
    end
end

local function peer_of(record, service)
    local peer = known[record.id]
    if not peer then
        local host, port = record.address:match("^(.*):(%d+)$")
        peer = { name = record.name, host = host, port = tonumber(port), seed = ngx.crc32_long(record.name) }
        peer.current, peer.failing_until = 0, 0
        counts.init(peer, record.id)
        known[record.id] = peer
    end
    peer.version = version
    if peer.boot ~= record.boot then
        if (peer.boot or "0") ~= "0" then
            service.deaths = service.deaths + 1
        end
        peer.boot, peer.failing_until = record.boot, 0      -- what its last life did is forgotten
    end
    peer.weight, peer.state, peer.max = record.weight, record.state, service.max_in_flight
    return peer
end

-- Those that the table no longer has go, as soon as they have nothing in hand: a proxy lives long,
-- and every container that replaces another has a name of its own.
local function forget()
    for id, peer in pairs(known) do
        if peer.version ~= version and peer.mine == 0 then
            counts.forget(peer)
            known[id] = nil
        end
    end
end

local function replace(text)
    for _, service in pairs(settings.services) do
        service.n, service.weight = 0, 0
    end
    n = 0
    for _, record in ipairs(M.parse(text)) do
        local service = settings.services[record.service]
        if service then         -- during a reload the table may know more than this configuration
            local peer = peer_of(record, service)
            service.n = service.n + 1
            service.all[service.n] = peer
            service.weight = service.weight + peer.weight
            n = n + 1
            all[n] = peer
        end
    end
    forget()
end

-- Which peers may be chosen: those that are up; when nobody has told for a while, all that nobody
-- has drained.
local function sift(service, now)
    local count = 0
    for i = 1, service.n do
        local peer = service.all[i]
        peer.usable = peer.state == "up" or M.blind and peer.state ~= "drained"
        if peer.usable then
            count = count + 1
            service.usable[count] = peer
        end
    end
    if service.count == 0 and count > 0 then
        service.since = now
    end
    service.count = count
end

-- Look at what is shared: at most once in a millisecond, however many requests there are in it.
function M.refresh(now)
    if now == checked then
        return
    end
    checked = now
    local told = dict:get("told")
    local blind = not told or now - told > BLIND_MS
    local newest = dict:get("version")
    local changed = newest ~= version
    if changed then
        version = newest
        replace(dict:get("table"))
    end
    if changed or blind ~= M.blind then
        M.blind = blind
        for _, service in pairs(settings.services) do
            sift(service, now)
        end
    end
    counts.refresh(all, n, now, changed)
end

-- The address of the instance `name`, "" when there is none.
function M.address(name)
    M.refresh(clock())
    for i = 1, n do
        if all[i].name == name then
            return all[i].host .. ":" .. all[i].port
        end
    end
    return ""
end

-- The table with what each instance has in flight, for whoever asks from outside.
local function describe()
    M.refresh(clock())
    local lines = { M.blind and "blind" or "fresh" }
    for _, record in ipairs(M.parse(dict:get("table"))) do
        local peer = known[record.id]
        lines[#lines + 1] = ("%s %s %s %d %s %s %d"):format(record.service, record.name,
            record.address, record.weight, record.state, record.boot,
            peer and counts.exact(peer) or 0)
    end
    return table.concat(lines, "\n")
end

-- GET and PUT /peers of the internal listener.
function M.serve()
    local method = ngx.req.get_method()
    if method ~= "GET" and method ~= "PUT" then
        return ngx.exit(405)
    end
    local said
    if method == "PUT" then
        ngx.req.read_body()
        said = put(ngx.req.get_body_data() or "")
        if not said then
            return ngx.exit(204)
        end
        ngx.status = 400
    end
    ngx.header["Content-Type"] = "text/plain"
    ngx.say(said or describe())
end

-- This worker ends: nothing of it stays.
function M.stop()
    for _, peer in pairs(known) do
        counts.forget(peer)
    end
end

return M
