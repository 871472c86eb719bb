-- For wrk: every request is a POST to the ledger with a key of its own. `wrk ... URL -- WORD`; the
-- word makes the keys of this run others than those of every other run.

local word, count = "", 0
local body = '{"account":"scale","amount":1,"memo":"a write of the bench"}'

function init(words)
    word = words[1]
end

function request()
    count = count + 1
    return wrk.format("POST", nil, {
        ["Content-Type"] = "application/json",
        ["Idempotency-Key"] = word .. "-" .. count,
    }, body)
end
