-- Figures of a run that take more than counting its requests; the columns have their names.

-- query injected
SELECT
    count(*) AS injections, count(confirmed) AS confirmed,
    (SELECT count(*) FROM executions WHERE fault <> '') AS injected
FROM injections

-- query recovery
-- From the moment an instance was seen dead until it was seen up; until the end when it never was.
SELECT round(max(back - began), 3) AS recovery_s FROM (
    SELECT
        began, state,
        coalesce(
            min(CASE WHEN state = 'up' THEN began END) OVER later, max(ended) OVER later, ended
        ) AS back
    FROM states
    WINDOW later AS (
        PARTITION BY instance ORDER BY began ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    )
) WHERE state = 'dead'

-- query settle
-- From the end of the last fault until the last request that still suffered from it.
WITH undone AS (SELECT max(healed) AS t FROM injections WHERE confirmed IS NOT NULL)
SELECT round(coalesce(max(requests.done), undone.t) - undone.t, 3) AS settle_s
FROM undone LEFT JOIN requests
    ON requests.done > undone.t AND outcome IN ('failed', 'indeterminate')
        AND cause NOT IN ('client_stopped', 'client_left')
GROUP BY undone.t

-- query goodput
-- How long into the recovery there was still a second that was not good. Only whole seconds count.
WITH seconds AS (
    SELECT
        floor(planned - began) AS second, count(*) AS offered,
        count(*) FILTER (outcome = 'answered' AND latency_s <= $good_s) AS good
    FROM requests JOIN phases ON phases.name = phase
    WHERE phase = 'recovery' AND floor(planned - began) + 1 <= ended - began
    GROUP BY ALL
)
SELECT
    CASE WHEN count(*) > 0 THEN
        coalesce(max(second + 1) FILTER (good < $good_share::DECIMAL(3,2) * offered), 0)
    END AS goodput_s
FROM seconds

-- query deaths
-- Without a watchdog nobody kills what hangs, and nobody would have written it down.
SELECT
    (SELECT count(*) FROM states WHERE state = 'dead') AS deaths,
    (
        SELECT CASE WHEN value IS NOT NULL THEN
            (SELECT count(*) FROM watch WHERE kind = 'hang')
        END FROM account WHERE key = 'watch_rows'
    ) AS hang_kills

-- query deadly
-- The executions of the deadliest request that have no end.
SELECT coalesce(max(deaths), 0) AS deaths_per_request
FROM (SELECT count(*) AS deaths FROM executions WHERE ended IS NULL GROUP BY id)

-- query retries
-- Tries beyond the first for each request that was tried at all, in the worst phase. A sub-request
-- is one more request to the proxy.
WITH each AS (
    SELECT requests.phase, count(*) - 1 AS retries
    FROM attempts JOIN requests ON requests.id = attempts.root
    WHERE attempts.instance <> '' AND requests.phase IN ('baseline', 'faults', 'recovery')
    GROUP BY requests.phase, attempts.id, attempts.proxy_id
)
SELECT round(max(share), 4) AS retries_per_request
FROM (SELECT sum(retries) / count(*) AS share FROM each GROUP BY phase)

-- query in_flight
-- The most requests that any instance executed at one moment. An end is written down after the
-- answer, when the proxy may have given the place away already: so much earlier it counts as ended.
-- An execution without an end died with its process, at the latest when that wrote its last row.
WITH spans AS (
    SELECT
        instance, began,
        greatest(began, coalesce(ended - $late_end, max(ended) OVER life, began)) AS ended
    FROM executions WINDOW life AS (PARTITION BY instance, boot)
),
steps AS (
    SELECT instance, began AS t, 1 AS step FROM spans
    UNION ALL SELECT instance, ended, -1 FROM spans
)
SELECT max(at_once)::BIGINT AS max_in_flight FROM (
    SELECT
        sum(step) OVER (
            PARTITION BY instance ORDER BY t, step ROWS UNBOUNDED PRECEDING
        ) AS at_once
    FROM steps
)
