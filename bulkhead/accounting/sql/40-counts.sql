-- One row an id: how often each observer wrote it down. Sub-requests have ids of their own, so they
-- do not count for the client's request. A request was retried when one row of the proxy has attempts
-- at more than one address; an upstream's name, which has no port, is none.
CREATE TEMP TABLE counts AS
SELECT id,
    sum(proxy_rows)::INTEGER AS proxy_rows,
    sum(attempts)::INTEGER AS attempts,
    sum(executions)::INTEGER AS executions,
    sum(effects)::INTEGER AS effects,
    sum(replays)::INTEGER AS replays,
    sum(queued) AS queued_s,
    bool_or(retried) AS retried
FROM (
    SELECT id, 1 AS proxy_rows,
        tries_of(addrs, statuses) AS attempts,
        0 AS executions, 0 AS effects, 0 AS replays, queued,
        CASE
            WHEN contains(addrs, ' ')
            THEN len(list_distinct(list_filter(list_of(addrs), lambda a: contains(a, ':')))) > 1
            ELSE false
        END AS retried
    FROM proxy
    UNION ALL
    SELECT id, 0, 0, 1, 0, (effect = 'replayed')::INTEGER, 0, false FROM executions
    UNION ALL
    SELECT request_id, 0, 0, 0, 1, 0, 0, false FROM effects
)
GROUP BY id;
