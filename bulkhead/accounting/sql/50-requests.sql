-- One row a client row: what it says, how often the other observers saw it, and its outcome, which
-- is the client's alone: it is what the client can know. Causes are filled in later. The phase is
-- the one in which the request was planned.
CREATE TABLE requests AS
SELECT c.id, c.name, c.method, c.target, class_of(c.method, c.key) AS class,
    c.key <> '' AS keyed, c.effect, coalesce(p.name, '') AS phase,
    c.planned, c.sent, c.done,
    CASE WHEN c.status > 0 THEN c.done - c.planned END AS latency_s,
    c.status, c.error, c.wrong, c.instance,
    CASE
        WHEN c.error = 'unsent' THEN 'not_sent'
        WHEN c.error = 'gave_up' THEN 'indeterminate'  -- by its own choice, reads too
        WHEN c.status BETWEEN 1 AND 399 AND c.wrong = '' THEN 'answered'
        WHEN c.status > 0 OR c.effect = 'read' OR c.error = 'refused' THEN 'failed'
        ELSE 'indeterminate'
    END AS outcome,
    '' AS cause, '' AS detail, '' AS delay_cause,
    coalesce(n.proxy_rows, 0) AS proxy_rows,
    coalesce(n.attempts, 0) AS attempts,
    coalesce(n.executions, 0) AS executions,
    coalesce(n.effects, 0) AS effects,
    coalesce(n.replays, 0) AS replays,
    coalesce(n.queued_s, 0) AS queued_s,
    coalesce(n.retried, false) AS retried,
    c.rowid + 1 AS seq, c.key, c.boot, c.bytes, c.entry, c.replayed, c.amount, len(c.found) AS shows
FROM client_rows AS c
LEFT JOIN counts AS n USING (id)
LEFT JOIN phases AS p ON c.planned >= p.began AND c.planned < p.ended;

-- The client's own view of each request. A write is acknowledged when its client was told that it
-- is done: a whole answer, and nothing wrong in it.
CREATE VIEW client AS
SELECT seq, id, name, method, target, planned, sent, done, status, error, wrong, key, instance,
    boot, bytes, effect, entry, replayed, amount, shows,
    effect <> 'read' AND status BETWEEN 200 AND 399 AND wrong = '' AS acknowledged
FROM requests;

-- One row an entry that an answer shows, in the order of the answer.
CREATE TABLE shown AS
SELECT id, place::INTEGER AS place, found[place][1] AS entry,
    found[place][2]::BIGINT AS version, found[place][3]::BIGINT AS amount
FROM (SELECT id, found, unnest(range(1, len(found) + 1)) AS place FROM client_rows);
