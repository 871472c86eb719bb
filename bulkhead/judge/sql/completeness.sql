-- Is a row missing, there twice, or impossible? Each observer's rows by themselves: INVALID.
--
-- Clients number their requests and services their executions, so that a hole in the numbers is a
-- lost row. docs/account.md has the table of who knows what.

-- rule rows_whole: rows missing, doubled or impossible
-- No observer's rows have a hole, say something twice, or contradict themselves.

-- question: requests missing from between others of their generator
-- Ids are the generator's token and a number. Of several workers each takes every n-th number.
WITH numbered AS (
    SELECT regexp_extract(id, '^(.+)-([0-9]+)$', ['token', 'number']) AS parts, id, planned
    FROM client
),
steps AS (
    SELECT id, parts.token AS token, planned < lag(planned) OVER numbers AS early,
        parts.number::BIGINT - lag(parts.number::BIGINT) OVER numbers AS step
    FROM numbered WHERE parts.number <> ''
    WINDOW numbers AS (PARTITION BY parts.token ORDER BY parts.number::BIGINT)
)
SELECT id FROM steps QUALIFY early OR step > min(step) OVER (PARTITION BY token)

-- question: client rows that contradict themselves
SELECT id FROM client
WHERE (status > 0) <> (error = '') OR (error = 'unsent') <> (sent = 0)
    OR done < greatest(planned, sent) OR (sent > 0 AND sent < planned)
    OR (wrong <> '' AND status = 0) OR (replayed AND effect = 'read')
    OR (effect = 'read' AND (key <> '' OR entry <> '' OR amount IS NOT NULL))
    OR (shows IS NOT NULL AND status = 0)
    OR starts_with(target, $ledger) AND (
        effect <> CASE method WHEN 'POST' THEN 'create' WHEN 'PUT' THEN 'replace'
            WHEN 'PATCH' THEN 'change' WHEN 'DELETE' THEN 'delete' ELSE 'read' END
        OR effect IN ('replace', 'change', 'delete') AND sent > 0
            AND target <> $ledger || '/' || entry
    )

-- question: proxy rows whose times do not add up
SELECT id FROM proxy LEFT JOIN (
    SELECT proxy_id, sum(response_s) AS tried_s,
        bool_or(connect_s < 0 OR header_s < connect_s - $rounded
            OR response_s < header_s - $rounded
            OR (header_s IS NOT NULL AND (connect_s IS NULL OR response_s IS NULL))
        ) AS impossible
    FROM attempts GROUP BY proxy_id
) USING (proxy_id)
WHERE took < 0 OR queued < 0 OR coalesce(impossible, false)
    OR took < queued + coalesce(tried_s, 0) - $rounded
    OR (complete = 'OK' AND took > queued + coalesce(tried_s, 0) + $stall)

-- question: proxy rows that contradict themselves
SELECT id FROM proxy LEFT JOIN (
    SELECT proxy_id, arg_max(instance, n) AS answered_by, arg_max(status, n) AS said,
        arg_max(header_s, n) AS header_s,
        bool_or(contains(instance, ':')
            OR (instance <> '' AND header_s IS NULL AND status NOT IN (502, 504)))
            AS unknown
    FROM attempts GROUP BY proxy_id
) USING (proxy_id)
WHERE coalesce(unknown, false)
    OR (gave_up <> '' AND status <> if(gave_up = 'poison', 502, 503))
    OR (header_s IS NOT NULL AND gave_up = '' AND status <> 499
        AND (said <> status OR answered_by <> proxy.instance))
    OR (instance = 'proxy' AND boot <> worker::VARCHAR)

-- question: executions missing from between others of their process
SELECT id FROM (
    SELECT id, n - lag(n) OVER numbers AS step, began - lag(began) OVER numbers AS later
    FROM executions WINDOW numbers AS (PARTITION BY instance, boot ORDER BY n)
)
WHERE step <> 1 OR later < 0

-- question: ends of executions without a begin
SELECT id FROM ends_alone WHERE id <> $probe

-- question: service rows that contradict themselves
SELECT id FROM executions
WHERE ended < began OR NOT starts_with(boot, pid::VARCHAR || '.')

-- question: executions with a fault that was not in force
SELECT id FROM executions WHERE fault <> '' AND NOT EXISTS (
    FROM injections AS i
    WHERE i.fault = executions.fault
        AND i.began <= coalesce(executions.ended, executions.began)
        AND coalesce(i.healed, executions.began) >= executions.began
)

-- question: effects of one number
SELECT any_value(request_id) FROM effects GROUP BY seq HAVING count(*) > 1

-- question: entries that are there twice, or that no effect touched
SELECT id FROM entries GROUP BY id, deleted
HAVING count(*) > 1 OR id NOT IN (SELECT entry_id FROM effects)

-- question: values of what is deleted, or none of what is not
SELECT request_id FROM effects WHERE (op = 'delete') <> (amount IS NULL)
UNION ALL
SELECT id FROM entries WHERE deleted <> (amount IS NULL)

-- question: events out of their order
-- A file is written from its beginning to its end, so that time does not go back in it.
SELECT target || ' ' || kind || ' in line ' || line FROM (
    SELECT *, max(t) OVER (ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        AS before
    FROM events
)
WHERE t < before - $lines

-- question: rows of the watchdog out of their order
SELECT target || ' ' || kind || ' in line ' || line FROM (
    SELECT *, max(t) OVER (ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        AS before
    FROM watch WHERE NOT EXISTS (FROM instances WHERE contains(name, '.'))
)
WHERE t < before - $lines

-- question: events that contradict themselves
SELECT target || ' ' || kind || ' in line ' || line FROM events
WHERE kind IN ('phase', 'state') AND (n <> 0 OR fault <> '')
    OR kind IN ('phase', 'inject', 'heal') AND detail <> ''
    OR kind = 'phase' AND target NOT IN ('warmup', 'baseline', 'faults', 'recovery', 'end')
    OR kind = 'state' AND (
        detail NOT IN ('up', 'dead', 'stopped')
        OR target NOT IN (SELECT name FROM instances)
    )

-- question: phases that are not one after the other
SELECT target FROM (
    SELECT target, row_number() OVER (ORDER BY t) AS place, list_position(
        ['warmup', 'baseline', 'faults', 'recovery', 'end'], target) AS due,
        lag(due) OVER (ORDER BY t) AS before
    FROM events WHERE kind = 'phase'
)
WHERE due <= before

-- question: injections whose moments do not fit
SELECT 'injection ' || n FROM events WHERE kind NOT IN ('phase', 'state')
GROUP BY n
HAVING count(DISTINCT kind) < count(*) OR count(DISTINCT fault) > 1
    OR count(DISTINCT target) > 1
    OR list(kind ORDER BY t, line) FILTER (kind <> 'failed') NOT IN (
        ['skipped'], ['inject'], ['inject', 'confirmed'], ['inject', 'confirmed', 'heal'],
        ['inject', 'confirmed', 'heal', 'healed'])

-- question: states that were seen twice
SELECT target || ' ' || detail FROM (
    SELECT target, detail, lag(detail) OVER (PARTITION BY target ORDER BY t, line) AS before
    FROM events WHERE kind = 'state'
)
WHERE detail = before

-- rule executions_known: answers or executions without their rows
-- Every answer of an instance has its execution, and that an end if its process lived on.

-- question: answers of instances without an execution
-- An answer began: there is a header time.
SELECT DISTINCT a.id FROM (
    SELECT id, instance, count(*) AS times FROM attempts
    WHERE header_s IS NOT NULL AND instance IN (SELECT name FROM instances) GROUP BY ALL
) AS a
LEFT JOIN (SELECT id, instance, count(*) AS times FROM executions GROUP BY ALL) AS x
    USING (id, instance)
WHERE a.times > coalesce(x.times, 0)

-- question: answers of a process that has no execution
SELECT proxy.id FROM proxy ANTI JOIN executions USING (id, instance, boot)
WHERE instance IN (SELECT name FROM instances)

-- question: executions without an end though their process lived on
-- A process lived until its last row, and maybe longer. Executions that died with it have no end.
WITH lives AS (
    SELECT instance, boot, max(greatest(began, coalesce(ended, began))) AS last
    FROM executions GROUP BY ALL
),
answered AS (
    SELECT a.id, a.instance, min(p.ended_at) AS at
    FROM attempts AS a JOIN proxy AS p USING (id, proxy_id)
    WHERE a.header_s IS NOT NULL GROUP BY ALL
)
SELECT x.id FROM executions AS x
    JOIN lives USING (instance, boot) LEFT JOIN answered USING (id, instance)
WHERE x.ended IS NULL AND (
    -- One that was never answered may still have been at work when its process died.
    CASE WHEN answered.at IS NULL THEN x.began < lives.last - $working
    ELSE greatest(answered.at, x.began) < lives.last - $stall END
    OR lives.last > (SELECT value FROM account WHERE key = 'ended') - $stall
        AND x.began < lives.last - $working
)

-- rule states_known: instances of which too little is known
-- Every instance was watched, and nobody saw it live when it was seen dead, or die unseen.

-- question: instances that nobody watched
SELECT name FROM instances WHERE configured AND name NOT IN (SELECT instance FROM states)

-- question: instances that were not watched from the beginning
SELECT name FROM instances JOIN states ON states.instance = name WHERE configured
GROUP BY name HAVING min(began) > (SELECT min(planned) FROM client)

-- question: executions at an instance that was dead
-- A gunicorn's workers live on for a while when its master, whom the observer sees, has died; and a
-- host that does not answer from afar may well be at work.
SELECT x.id FROM executions AS x
    JOIN states AS s ON s.instance = x.instance AND s.state = 'dead'
        AND x.began BETWEEN s.began + $stall AND s.ended - $stall
WHERE x.instance IN (
    SELECT name FROM instances WHERE kind <> 'gunicorn' AND NOT contains(name, '.')
)

-- query watched_throughout
-- From afar observer and watchdog are late, and a watchdog that was itself away has seen nothing.
SELECT (SELECT value FROM account WHERE key = 'watch_rows') IS NOT NULL
    AND NOT EXISTS (FROM watch WHERE kind IN ('watching', 'supervisord'))
    AND NOT EXISTS (FROM instances WHERE contains(name, '.'))

-- rule states_watched: instances of which too little is known
-- The same of what the watchdog tells.

-- question: deaths that only one of observer and watchdog has seen
SELECT target FROM lives WHERE kind = 'exit' AND NOT EXISTS (
    FROM states AS s WHERE s.instance = target AND s.state = 'dead'
        AND lives.t BETWEEN s.began - $stall
            -- An instance that dies again before it was ready has been dead for the observer.
            AND if(before = 'ready', s.began, s.ended) + $stall
)
UNION ALL
SELECT instance FROM states WHERE state = 'dead' AND NOT EXISTS (
    FROM lives WHERE target = instance AND kind = 'exit' AND abs(t - states.began) <= $stall
)

-- question: starts that only one of observer and watchdog has seen
SELECT target FROM lives WHERE kind = 'ready'
    AND target IN (SELECT name FROM instances WHERE kind <> 'gunicorn')
    AND NOT EXISTS (
        FROM states AS s WHERE s.instance = target AND s.state = 'up'
            AND abs(s.began - lives.t) <= $stall
    )
UNION ALL
SELECT instance FROM (
    SELECT *, lag(state) OVER (PARTITION BY instance ORDER BY began) AS before FROM states
) AS s
WHERE state = 'up' AND before = 'dead' AND ended > began + $stall
    AND instance IN (SELECT name FROM instances WHERE kind <> 'gunicorn')
    AND NOT EXISTS (
        FROM lives WHERE target = instance AND kind = 'ready'
            AND abs(t - s.began) <= $stall
    )

-- question: lives that the watchdog tells with a hole
SELECT target || ' ' || lives.kind FROM lives
    JOIN instances AS i ON i.name = target AND i.kind <> 'gunicorn'
WHERE lives.kind = before
    OR lives.kind = 'exit' AND before IN ('started', 'ready') AND detail <> pid_before
    OR lives.kind = 'started' AND (before = 'ready' OR detail = pid_before)
    OR lives.kind = 'ready' AND before = 'exit'
    OR lives.kind = 'ready' AND before = 'started' AND detail <> pid_before
    OR lives.kind = 'exit' AND before IS NULL AND detail <> (
        SELECT arg_max(x.pid, x.began)::VARCHAR FROM executions AS x
        WHERE x.instance = lives.target AND x.began < lives.t
    )
UNION ALL
SELECT target || ' has no end' FROM lives
WHERE target IN (
    SELECT instance FROM states GROUP BY instance HAVING arg_max(state, began) = 'up'
)
GROUP BY target HAVING arg_max(kind, line) = 'exit'

-- question: kills of what hung without a death
SELECT target FROM watch AS h WHERE kind = 'hang'
    AND target IN (SELECT name FROM instances WHERE kind <> 'gunicorn')
    AND target IN (SELECT instance FROM states)
    AND 1 <> (
        SELECT count(*) FROM watch AS e
        WHERE e.kind = 'exit' AND e.target = h.target AND e.t BETWEEN h.t AND h.t + $stall
    )
UNION ALL
-- Of a gunicorn's worker only the successor is told of.
SELECT target FROM watch AS h WHERE kind = 'hang'
    AND target IN (SELECT name FROM instances WHERE kind = 'gunicorn')
    AND NOT EXISTS (
        FROM watch AS e WHERE e.kind IN ('exit', 'ready') AND e.target = h.target
            AND e.t BETWEEN h.t AND h.t + $boot
    )
UNION ALL
SELECT target FROM watch WHERE kind = 'hang' AND target NOT IN (
    SELECT name FROM instances UNION SELECT target FROM watch WHERE kind = 'exit')
UNION ALL
SELECT target FROM watch WHERE kind = 'hang'
GROUP BY target, split_part(detail, ' ', 1) HAVING count(*) > 1

-- rule values_known: requests without values
-- Of every request to the ledger it is known what it asked for and what its answer showed.

-- question: writes of which nobody knows what they asked for
SELECT id FROM client
WHERE starts_with(target, $ledger)
    AND (amount IS NULL) <> (method NOT IN ('POST', 'PUT', 'PATCH'))

-- question: answers of which nobody knows what they showed
SELECT id FROM client
    LEFT JOIN (SELECT id, any_value(entry) AS one FROM shown GROUP BY id) USING (id)
WHERE starts_with(target, $ledger) AND status BETWEEN 200 AND 299
    AND wrong = '' AND CASE
        WHEN method = 'DELETE' THEN shows IS NOT NULL
        WHEN shows IS NULL THEN true
        WHEN method = 'POST' THEN shows <> 1 OR one <> entry
        WHEN contains(target, $ledger || '/')
        THEN shows <> 1 OR target <> $ledger || '/' || one
        ELSE false
    END
