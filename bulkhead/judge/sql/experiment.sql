-- Did the run do what its drill asked for: faults and load?

-- query tries_at_targets
-- A target is names with spaces between them, of instances or of hosts: of a host count the tries
-- at all of its instances. Other targets, as nginx or a database, are not tried by the proxy.
WITH targets AS (
    SELECT DISTINCT unnest(string_split(target, ' ')) AS name
    FROM injections WHERE confirmed IS NOT NULL
),
places AS (
    SELECT DISTINCT name, name AS instance FROM instances
    UNION SELECT split_part(name, '.', 2), name FROM instances WHERE contains(name, '.')
),
tries AS (
    SELECT attempts.instance, count(*) AS count
    FROM attempts JOIN requests ON requests.id = attempts.root
    WHERE requests.phase = 'baseline' GROUP BY attempts.instance
)
SELECT name, coalesce(sum(count), 0)::INTEGER
FROM targets JOIN places USING (name) LEFT JOIN tries USING (instance)
GROUP BY name ORDER BY name

-- rule not_sent: requests not sent to their end

-- question: requests of the baseline were not sent
-- Later it may be the stack's fault: every connection waits for what hangs. A bound looks at that.
SELECT id FROM requests WHERE outcome = 'not_sent' AND phase = 'baseline' ORDER BY planned

-- question: requests were cut off by the end of the load
SELECT id FROM requests WHERE cause = 'client_stopped' ORDER BY planned

-- query gaps
-- The load must last from the beginning of the baseline until the end, and may begin before it.
WITH moments AS (
    SELECT planned AS t FROM requests
    UNION ALL
    SELECT t FROM events WHERE kind = 'phase' AND target IN ('baseline', 'end')
),
spans AS (
    SELECT t - min(t) OVER () AS start, lead(t) OVER (ORDER BY t) - t AS gap FROM moments
)
SELECT start, gap FROM spans WHERE round(gap, 6) > $gap ORDER BY start
