-- The promises that every drill makes, and that only the stack can break: each is a FAIL.
--
-- A write is acknowledged when its client got a whole answer of 2xx or 3xx with nothing wrong in
-- it (`client.acknowledged`). An effect belongs to the client's request that its id comes from
-- (`root`).

-- query unlogged
-- Whole answers without a proxy row, and whether the death of a worker excuses each. No worker can
-- have more answers to log than requests were in its hands when it was killed.
WITH kills AS (
    SELECT
        n, began, confirmed,
        (SELECT count(*) FROM client WHERE sent > 0 AND began BETWEEN sent AND done) AS in_hand
    FROM injections WHERE list_contains($worker_faults, fault) AND confirmed IS NOT NULL
),
near AS (
    SELECT id, done, n, greatest(in_hand, 1) AS most, abs(done - began) AS distance
    FROM requests LEFT JOIN kills ON done BETWEEN began - $slack AND confirmed + $slack
    WHERE status > 0 AND proxy_rows = 0
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY distance) = 1
)
SELECT id, n IS NOT NULL
    AND row_number() OVER (PARTITION BY n ORDER BY distance, id) <= most AS excused
FROM near ORDER BY done

-- rule accounted: unaccounted
-- Answers, proxy rows and executions belong together: no whole answer without a proxy row, no proxy
-- row or execution of a request that was never sent, and no execution that no attempt explains.

-- question: sub-requests executed without a proxy row
-- A worker that is killed had sub-requests in hand as well.
SELECT DISTINCT id FROM executions ANTI JOIN proxy USING (id)
WHERE id <> root AND root IN (SELECT id FROM client) AND NOT EXISTS (
    FROM injections AS i
    WHERE list_contains($worker_faults, i.fault) AND i.confirmed IS NOT NULL
        AND executions.began <= i.confirmed + $slack
        AND coalesce(executions.ended, executions.began) >= i.began - $slack
)
ORDER BY id

-- question: requests logged though never sent
SELECT id FROM requests
WHERE error IN ('unsent', 'refused') AND (proxy_rows > 0 OR executions > 0)
ORDER BY planned

-- question: requests executed more often than the proxy tried
-- Where the row of a killed worker is missing, so are its attempts: the request's cause tells of
-- it.
WITH executed AS (SELECT id, instance, count(*) AS times FROM executions GROUP BY ALL),
tried AS (SELECT id, instance, count(*) AS times FROM attempts GROUP BY ALL)
SELECT DISTINCT requests.id
FROM requests JOIN executed ON executed.id = requests.id
    LEFT JOIN tried ON tried.id = executed.id AND tried.instance = executed.instance
WHERE requests.proxy_rows > 0 AND executed.times > coalesce(tried.times, 0)
ORDER BY requests.id

-- rule sent_once: requests sent more than once
-- No client sent a request a second time by itself.
SELECT id FROM requests WHERE proxy_rows > 1 ORDER BY planned

-- rule class_kept: requests that the proxy took for another class
-- The proxy took each request for what its method and its key make it.
SELECT id FROM proxy WHERE request_class <> class_of(method, key) ORDER BY ended_at

-- rule nothing_lost: writes lost
-- Every acknowledged write was applied, and the ledger holds what was applied last. A replayed
-- answer has its effect under the id of the request that was there first: by the key. An entry's id
-- that came back after its deletion has two rows; the one with the higher version counts.
WITH last AS (
    SELECT
        entry_id, arg_max(root, seq) AS root,
        arg_max(version, seq) AS version, arg_max(op, seq) AS op
    FROM effects GROUP BY entry_id
),
held AS (
    SELECT id, max(version) AS version, arg_max(deleted, version) AS deleted
    FROM entries GROUP BY id
),
lost AS (
    SELECT client.id, 'not applied' AS how, client.planned FROM client
    WHERE client.acknowledged
        AND client.id NOT IN (SELECT root FROM effects)
        AND (client.key = '' OR client.key NOT IN (SELECT key FROM effects WHERE key IS NOT NULL))
    UNION ALL
    SELECT last.root, 'not held', NULL FROM last LEFT JOIN held ON held.id = last.entry_id
    WHERE held.id IS NULL OR held.version <> last.version OR held.deleted <> (last.op = 'delete')
)
SELECT id FROM lost GROUP BY id ORDER BY min(how), min(planned), id

-- rule nothing_early: writes acknowledged before they were applied
-- No write was acknowledged before it was applied, by the wall clock, which both the ledger and the
-- proxy have.
SELECT client.id FROM client
    JOIN effects ON effects.request_id = client.id JOIN proxy ON proxy.id = client.id
WHERE client.acknowledged AND effects.applied_at > proxy.ended_at + $host_clock
ORDER BY client.planned

-- rule nothing_doubled: effects applied again
-- No request and no key was applied a second time, the keys that the proxy made included.
WITH numbered AS (
    SELECT
        seq, root, effects.key,
        row_number() OVER (PARTITION BY coalesce(id, request_id) ORDER BY seq) AS of_request,
        row_number() OVER (PARTITION BY effects.key ORDER BY seq) AS of_key
    FROM effects LEFT JOIN (SELECT id FROM client) ON id = root
)
SELECT root FROM numbered WHERE of_request > 1 OR (key <> '' AND of_key > 1) ORDER BY seq

-- rule nothing_repeated: non-retryable requests executed again
-- Each non-retryable request was executed once, even where a repetition is harmless: by the class
-- that its method and key give it. Sub-requests of a service have one too.
SELECT id FROM executions
WHERE id IN (
    SELECT id FROM proxy WHERE class_of(method, key) = 'non_retryable'
    UNION SELECT id FROM requests WHERE class = 'non_retryable'
)
GROUP BY id HAVING count(*) > 1
ORDER BY min(began)

-- rule nothing_stale: newer writes overwritten by older ones
-- No write overtook an acknowledged one that was sent only after it had ended. Per entry, in the
-- order of application: was any acknowledged write before this one sent later than this one's
-- client was done with it? Writes that overlap may be applied in either order. A write whose client
-- hung up by its own choice goes on at its instance, so it overlaps with all that follows.
SELECT root FROM (
    SELECT
        effects.seq, effects.root, client.done, client.error,
        max(CASE WHEN client.acknowledged THEN client.sent END) OVER (
            PARTITION BY effects.entry_id ORDER BY effects.seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS newest_sent
    FROM effects JOIN client ON client.id = effects.root
)
WHERE newest_sent > done AND error <> 'gave_up'
ORDER BY seq

-- rule linearizable: answers or writes that no order explains
-- The ledger's order of writes explains what they asked for and what every answer showed.
--
-- The ledger's effects are one order of all writes to an entry; the history is linearizable when
-- that order explains what every client has seen. A write takes effect between being sent and being
-- answered, or at any time after it was sent when its client never heard of it. An answer shows a
-- version that some write made, with that write's value; none that a write made which was sent only
-- later; and none older than what anybody had been told, or had read, before it was asked for.
-- (Herlihy and Wing 1990; the order makes it a matter of looking, not of searching.)

-- question: writes applied as something else than was asked for
SELECT client.id FROM client JOIN effects ON effects.request_id = client.id
WHERE effects.op <> client.effect
    OR (effects.op <> 'delete' AND effects.amount IS DISTINCT FROM client.amount)
    OR (client.entry <> '' AND effects.entry_id <> client.entry)

-- question: writes that do not follow the one before
-- An id that comes back after its deletion goes on counting.
SELECT root FROM (
    SELECT root, seq, op, version,
        lag(version) OVER orders AS before, lag(op) OVER orders AS op_before
    FROM effects WINDOW orders AS (PARTITION BY entry_id ORDER BY seq)
)
WHERE version <> before + 1
    OR (op = 'create' AND op_before <> 'delete')
    OR (op IN ('change', 'delete') AND op_before = 'delete')
    OR (op = 'create' AND before IS NULL AND version <> 1)
ORDER BY seq

-- question: entries held with another value than was written last
SELECT root FROM effects
    SEMI JOIN (SELECT max(seq) AS seq FROM effects GROUP BY entry_id) USING (seq)
    JOIN entries ON entries.id = entry_id
WHERE NOT entries.deleted AND entries.version = effects.version
    AND entries.amount IS DISTINCT FROM effects.amount

-- question: answers with what nobody wrote
-- What was there before the run has no effect in it; where the first effect is the ledger's first,
-- nothing was. Below the first version of the run lies what was there, unless that created it.
WITH firsts AS (
    SELECT entry, min(version) AS version, arg_min(op, version) = 'create' AS made
    FROM writes GROUP BY entry
)
SELECT DISTINCT seen.id FROM seen
    LEFT JOIN writes USING (entry, version) LEFT JOIN firsts USING (entry)
WHERE writes.amount IS DISTINCT FROM seen.amount AND CASE
    WHEN writes.version IS NOT NULL THEN true
    WHEN firsts.entry IS NULL THEN (SELECT min(seq) = 1 FROM effects)
    ELSE firsts.made OR seen.version > firsts.version
END

-- question: answers with what was written only later
SELECT DISTINCT seen.id FROM seen JOIN writes USING (entry, version)
WHERE writes.sent > seen.done

-- question: answers with less than was known before
-- What everybody has to know by then: writes that were acknowledged, and what has been read. A
-- replayed answer tells of the past.
WITH moments AS (
    SELECT entry, told AS t, 1 AS known, version, NULL AS id FROM writes
    WHERE told IS NOT NULL
    UNION ALL SELECT entry, done, 1, version, NULL FROM seen WHERE NOT replayed
    UNION ALL SELECT entry, sent, 0, version, id FROM seen WHERE NOT replayed
),
floors AS (
    SELECT id, version, max(CASE WHEN known = 1 THEN version END) OVER (
        PARTITION BY entry ORDER BY t, known ROWS UNBOUNDED PRECEDING
    ) AS floor
    FROM moments
)
SELECT DISTINCT id FROM floors WHERE id IS NOT NULL AND version < floor

-- question: answers that there is no such entry
SELECT c.id FROM client AS c
WHERE c.status = 404 AND starts_with(c.target, $ledger || '/')
    AND EXISTS (
        FROM writes AS w
        WHERE c.target = $ledger || '/' || w.entry AND w.op <> 'delete' AND w.told < c.sent
    )
    AND NOT EXISTS (
        FROM writes AS w
        WHERE c.target = $ledger || '/' || w.entry AND w.op = 'delete' AND w.sent < c.done
    )

-- question: lists that leave entries out
-- A list shows the newest entries, so many at most. Entries that were surely there: their creation
-- was acknowledged before the list was asked for, and no deletion was sent before it was there. One
-- that is surely newer than the oldest shown must be shown; and where fewer are shown than may be,
-- there are no more.
WITH made AS (
    SELECT m.entry, m.sent, m.told, coalesce(d.sent, 'infinity'::DOUBLE) AS gone
    FROM (FROM writes WHERE op = 'create' AND told IS NOT NULL) AS m
    LEFT JOIN (
        SELECT entry, min(sent) AS sent FROM writes WHERE op = 'delete' GROUP BY entry
    ) AS d USING (entry)
),
lists AS (
    SELECT id, sent, done, shows,
        regexp_extract(target, '[?&]limit=([0-9]+)', 1)::BIGINT AS most
    FROM client
    WHERE method = 'GET' AND starts_with(target, $ledger || '?') AND shows IS NOT NULL
        AND NOT contains(target, 'cursor=') AND NOT contains(target, 'account=')
        AND NOT contains(target, '_amount=') AND contains(target, 'limit=')
),
oldest AS (
    SELECT lists.id, lists.sent, lists.done, writes.told AS since
    FROM lists JOIN seen ON seen.id = lists.id AND seen.place = lists.shows
        JOIN writes ON writes.entry = seen.entry AND writes.op = 'create'
),
due AS (
    SELECT oldest.id, made.entry FROM oldest JOIN made
        ON made.sent > oldest.since AND made.told < oldest.sent
    WHERE made.gone > oldest.done
),
born AS (SELECT told AS t, count(*) OVER (ORDER BY told) AS total FROM made),
died AS (
    SELECT gone AS t, count(*) OVER (ORDER BY gone) AS total FROM made WHERE isfinite(gone)
)
SELECT due.id FROM due ANTI JOIN shown USING (id, entry) GROUP BY due.id
UNION
SELECT id FROM lists
    ASOF LEFT JOIN born ON born.t < lists.sent ASOF LEFT JOIN died ON died.t <= lists.done
WHERE shows < least(most, coalesce(born.total, 0) - coalesce(died.total, 0))

-- rule explained: requests without an explanation
-- Every request that was not answered has one cause, of those that there are.
SELECT id FROM requests
WHERE outcome <> 'answered'
    AND (cause = 'unexplained' OR cause NOT IN (SELECT name FROM causes))
ORDER BY planned

-- rule all_back: instances not up in the end
-- Every instance is up when the run ends.
SELECT instance FROM states GROUP BY instance HAVING arg_max(state, began) <> 'up'
ORDER BY instance

-- rule unacknowledged: writes applied without their client being told
-- A figure, not a promise.
SELECT client.id FROM client
WHERE client.status NOT BETWEEN 200 AND 399
    AND client.id IN (SELECT root FROM effects)
ORDER BY client.planned
