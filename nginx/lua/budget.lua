-- The retry budget of a service: each request adds `retry_share` of a retry, and each retry takes
-- one whose try before took an instance's time: no answer in time, or one that says no. So those are
-- at most that share of the requests in the long run, and a service that is overloaded is not given
-- several times its load. What a dead instance has failed (refused, reset, closed) is free: it is no
-- sign of overload, and a death costs at most `max_in_flight` tries.
--
-- Requests are promised a second try when they begin and take it when they need it. What was
-- promised is kept: many that fail at once may leave the budget below zero, and while it is there
-- nobody is promised anything.

local settings = require "settings"

local min = math.min

local M = {}

function M.new()
    return settings.retry_burst
end

-- A request begins.
function M.earn(service)
    service.budget = min(service.budget + settings.retry_share, settings.retry_burst)
end

-- Whether another try may be promised.
function M.has(service)
    return service.budget >= 1
end

-- A retry begins.
function M.spend(service)
    service.budget = service.budget - 1
end

return M
