-- Phases, injections and states, from the events.

-- When it all began: the first event, or the first request.
CREATE TEMP TABLE run_began AS
SELECT least((SELECT min(t) FROM events), (SELECT min(planned) FROM client_rows)) AS t;

-- When it was all over: the event that says so, or whatever was seen last.
CREATE TEMP TABLE run_ended AS
SELECT coalesce(
    (SELECT max(t) FROM events WHERE kind = 'phase' AND target = 'end'),
    greatest((SELECT max(t) FROM events), (SELECT max(done) FROM client_rows))
) AS t;

-- One row a phase. The end of the run is a moment and no phase.
CREATE TABLE phases AS
SELECT name, began, ended
FROM (
    SELECT target AS name, t AS began,
        coalesce(lead(t) OVER (ORDER BY t), (SELECT t FROM run_ended)) AS ended
    FROM events
    WHERE kind = 'phase'
)
WHERE name <> 'end'
ORDER BY began;

-- One row an injection, with its four moments. `detail` is the proof that it was in force, `problem`
-- why it did not or was not undone.
CREATE TABLE injections AS
SELECT n,
    first(fault ORDER BY t) AS fault,
    first(target ORDER BY t) AS target,
    min(t) AS began,
    min(t) FILTER (kind = 'confirmed') AS confirmed,
    min(t) FILTER (kind = 'heal') AS heal,
    min(t) FILTER (kind = 'healed') AS healed,
    bool_or(kind = 'failed') AS failed,
    bool_or(kind = 'skipped') AS skipped,
    coalesce(first(detail ORDER BY t) FILTER (kind = 'confirmed'), '') AS detail,
    coalesce(first(detail ORDER BY t) FILTER (kind IN ('failed', 'skipped')), '') AS problem
FROM events
WHERE kind NOT IN ('phase', 'state')
GROUP BY n
ORDER BY n;

-- One row for each stretch of time in which an instance was seen in one state.
CREATE TABLE states AS
SELECT instance, state, t AS began,
    coalesce(
        lead(t) OVER (PARTITION BY instance ORDER BY t),
        greatest(t, (SELECT t FROM run_ended))
    ) AS ended
FROM (
    SELECT target AS instance, detail AS state, t,
        lag(detail) OVER (PARTITION BY target ORDER BY t) AS before
    FROM events
    WHERE kind = 'state'
)
WHERE state IS DISTINCT FROM before
ORDER BY instance, began;
