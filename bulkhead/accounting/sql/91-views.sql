-- Questions that the judge asks several times.

-- One row a write that the ledger applied for a request of the client: when it was sent, and when
-- its client was told that it is done.
CREATE VIEW writes AS
SELECT e.entry_id AS entry, e.version, e.op, e.amount, client.sent,
    CASE WHEN client.acknowledged THEN client.done END AS told
FROM effects AS e JOIN client ON client.id = e.root;

-- One row an entry that an answer shows, with the times of its request.
CREATE VIEW seen AS
SELECT id, shown.place, shown.entry, shown.version, shown.amount, sent, done, replayed
FROM shown JOIN client USING (id);

-- The watchdog's story of each instance that was observed, each row with the one before.
CREATE VIEW lives AS
SELECT line, t, kind, target, detail, lag(kind) OVER story AS before,
    lag(detail) OVER story AS pid_before
FROM watch WHERE kind IN ('exit', 'started', 'ready') AND target IN (SELECT instance FROM states)
WINDOW story AS (PARTITION BY target ORDER BY t, line);

-- For people: what is asked most often. Here `at_s` counts from the begin of the run.

-- One row for every cause in every phase.
CREATE VIEW by_cause AS
SELECT phase, outcome, cause, count(*) AS requests, any_value(id) AS example,
    any_value(detail) AS evidence
FROM requests
WHERE outcome <> 'answered'
GROUP BY ALL
ORDER BY min(planned), requests DESC;

-- One row a second, by when requests were planned.
CREATE VIEW by_second AS
SELECT floor(planned - began)::INTEGER AS at_s,
    any_value(phase) AS phase,
    count(*) AS requests,
    count(*) FILTER (outcome = 'answered') AS answered,
    count(*) FILTER (outcome = 'failed') AS failed,
    count(*) FILTER (outcome = 'indeterminate') AS indeterminate,
    count(*) FILTER (outcome = 'not_sent') AS not_sent,
    count(*) FILTER (retried) AS retried,
    round(1000 * quantile_disc(latency_s, 0.5), 1) AS p50_ms,
    round(1000 * quantile_disc(latency_s, 0.99), 1) AS p99_ms
FROM requests, (SELECT value AS began FROM account WHERE key = 'began')
GROUP BY ALL
ORDER BY at_s;

-- Everything that anyone wrote down about one request and its sub-requests, in order of time:
--   FROM story('0123456789abcdef-42')
CREATE MACRO story(request) AS TABLE
SELECT round(t - began, 4) AS at_s, id, who, what
FROM (
    SELECT planned AS t, id, 'client' AS who, 'plans ' || method || ' ' || target AS what
    FROM client WHERE id = request
    UNION ALL
    SELECT sent, id, 'client', 'sends it' FROM client WHERE id = request AND sent > 0
    UNION ALL
    SELECT done, id, 'client',
        CASE WHEN status > 0 THEN status || ' from ' || instance ELSE 'ends with ' || error END
        || CASE WHEN wrong <> '' THEN ', wrong: ' || wrong ELSE '' END
    FROM client WHERE id = request
    UNION ALL
    SELECT began_at, id, 'proxy', 'takes it' FROM proxy WHERE root = request
    UNION ALL
    SELECT ended_at, id, 'proxy',
        CASE WHEN addrs = '' THEN status || ', by itself'
            ELSE status || ': ' || statuses || ' at ' || addrs END
        || CASE WHEN queued > 0 THEN ', after waiting ' || queued || ' s' ELSE '' END
        || CASE WHEN gave_up <> '' THEN ', gave up: ' || gave_up ELSE '' END
    FROM proxy WHERE root = request
    UNION ALL
    SELECT began, id, instance, 'begins' FROM executions WHERE root = request
    UNION ALL
    SELECT ended, id, instance, status || ', effect ' || effect
    FROM executions WHERE root = request AND ended IS NOT NULL
    UNION ALL
    SELECT applied_at, request_id, 'ledger', op || ' ' || entry_id || ' version ' || version
    FROM effects WHERE root = request
), (SELECT value AS began FROM account WHERE key = 'began')
ORDER BY t;
