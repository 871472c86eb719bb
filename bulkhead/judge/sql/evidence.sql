-- Is the evidence whole, and is it of one piece? Where not, a run is INVALID.

-- query too_early
SELECT count(*) FROM client
WHERE planned < (SELECT min(t) FROM events WHERE kind = 'phase')

-- query no_outcome
SELECT count(*) FROM requests
WHERE coalesce(outcome, '') NOT IN ('answered', 'failed', 'indeterminate', 'not_sent')

-- query known_to
SELECT max(most_s - least_s) FROM clocks

-- query unknown_clocks
SELECT CASE
    WHEN least_s > most_s
    THEN format('the {} clock of {} was changed during the run', clock, host)
    ELSE format('the {} clock of {} is not known to within {} s', clock, host, $host_clock)
END
FROM clocks WHERE least_s > most_s OR coalesce(most_s - least_s > $host_clock, true)

-- query impossible_times
-- A request that is executed again makes its sub-requests again, under the same ids: an execution
-- must fit one of the proxy's attempts with its id. A request that was given up may begin at any time.
SELECT DISTINCT id FROM (
    SELECT client.id FROM executions JOIN client ON client.id = executions.root
    WHERE executions.began < client.sent - $service_clock
    UNION ALL
    SELECT client.id FROM proxy JOIN client ON client.id = proxy.root
    WHERE proxy.began_at < client.sent - $proxy_clock
    UNION ALL
    SELECT client.id FROM proxy JOIN client ON client.id = proxy.id
    WHERE client.status > 0 AND proxy.ended_at < client.done - $stall
    UNION ALL
    SELECT client.id FROM proxy JOIN client ON client.id = proxy.root
    WHERE client.status > 0 AND proxy.ended_at > client.done + $proxy_clock
    UNION ALL
    SELECT executions.root FROM executions JOIN client USING (id, instance, boot)
    WHERE client.status > 0 AND executions.began > client.done + $service_clock
    UNION ALL
    SELECT x.root FROM executions AS x
        JOIN attempts AS a ON a.id = x.id AND a.instance = x.instance
        JOIN proxy AS p ON p.id = a.id AND p.proxy_id = a.proxy_id
    GROUP BY x.root, x.instance, x.boot, x.n
    HAVING NOT bool_or(x.began >= p.began_at - $proxy_clock AND (
        a.header_s IS NULL
        OR x.began <= p.ended_at + $proxy_clock AND (
            coalesce(x.ended, 0) <= p.ended_at + $stall OR EXISTS (
                FROM injections AS i
                WHERE i.began <= x.ended AND coalesce(i.healed, i.began) >= x.began
                    AND (list_contains(string_split(i.target, ' '), x.instance)
                        OR NOT list_has_any(
                            string_split(i.target, ' '),
                            (SELECT coalesce(list(name), []) FROM instances)
                        ))
            )
        )
    ))
    UNION ALL
    SELECT effects.root FROM effects JOIN executions
        ON executions.id = effects.request_id AND executions.instance = effects.instance
            AND executions.boot = effects.boot
    GROUP BY effects.root, effects.seq
    HAVING NOT bool_or(effects.applied_at BETWEEN executions.began - $proxy_clock
        AND coalesce(executions.ended, 'infinity') + $proxy_clock)
)
ORDER BY id

-- rule observers_agree: requests that client and proxy tell differently
-- Client and proxy agree about each request.

-- question: answers that client and proxy tell differently
SELECT client.id FROM client LEFT JOIN proxy ON proxy.id = client.id
WHERE client.status > 0 AND (
    client.instance = ''
    OR proxy.status <> client.status
    OR proxy.instance <> client.instance
    OR proxy.boot <> client.boot
    OR proxy.bytes <> client.bytes
    OR proxy.complete <> 'OK'
)
ORDER BY client.planned

-- question: requests that client and proxy tell differently
SELECT client.id FROM client JOIN proxy USING (id)
WHERE proxy.method <> client.method OR proxy.target <> client.target
    OR proxy.key <> client.key
ORDER BY client.planned

-- rule executions_agree: executions that observers tell differently
-- The service agrees with client, proxy and ledger about each execution. It cuts a target at so
-- many characters before it writes a row.

-- question: requests that proxy and service tell differently
SELECT any_value(x.id) FROM proxy JOIN executions AS x USING (id)
WHERE x.root IN (SELECT id FROM client)
GROUP BY x.instance, x.boot, x.n
HAVING NOT bool_or(
    x.method = proxy.method AND starts_with(proxy.target, x.target)
    AND len(x.target) >= least(1000, len(proxy.target))
    AND (nullif(x.key, '') IS NOT DISTINCT FROM nullif(proxy.key, '')
        OR x.key IS NOT DISTINCT FROM 'proxy:' || proxy.proxy_id)
)

-- question: answers that proxy and service tell differently
SELECT a.id FROM attempts AS a
WHERE a.header_s IS NOT NULL
    AND EXISTS (FROM executions AS x WHERE x.id = a.id AND x.instance = a.instance)
    AND NOT EXISTS (
        FROM executions AS x WHERE x.id = a.id AND x.instance = a.instance
            AND (x.ended IS NULL OR x.status = a.status)
    )
ORDER BY a.id

-- question: replays that client and service tell differently
SELECT client.id FROM client JOIN executions AS x USING (id, instance, boot)
WHERE client.status > 0 AND x.ended IS NOT NULL AND x.status = client.status
    AND client.replayed <> (x.effect = 'replayed')
ORDER BY client.planned

-- question: effects that ledger and service tell differently
SELECT x.id FROM executions AS x LEFT JOIN effects AS e
    ON e.request_id = x.id AND e.instance = x.instance AND e.boot = x.boot
WHERE x.root IN (SELECT id FROM client) AND x.ended IS NOT NULL AND (
    (x.effect = 'applied') <> (e.seq IS NOT NULL AND x.status < 400)
    OR e.key IS DISTINCT FROM x.key AND e.seq IS NOT NULL
    OR x.effect = 'replayed' AND x.key NOT IN (SELECT key FROM effects WHERE key <> '')
)
UNION
SELECT e.request_id FROM effects AS e ANTI JOIN executions AS x
    ON x.id = e.request_id AND x.instance = e.instance AND x.boot = e.boot

-- rule unrelated: requests of others
-- Nobody but the load used the stack.
SELECT DISTINCT root FROM (
    SELECT root FROM proxy
    UNION ALL SELECT root FROM executions
    UNION ALL SELECT root FROM effects
)
WHERE root <> $probe AND root NOT IN (SELECT id FROM client)
ORDER BY root
