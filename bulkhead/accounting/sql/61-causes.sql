-- The cause of every request that was not answered, by evidence: what fits nothing is unexplained.

-- The cause of an error that the proxy answered, from its row. Where nginx gave up by
-- itself it says why, and whatever had been tried before was only the way there. Every try of a
-- retryable request has failed; when all failed in one way, that way is the cause.
-- A non-retryable request is retried only after an instance that never got it, so its last try is the cause; and
-- so it is when a service answered with a status that nginx passes on without another try.
CREATE TEMP MACRO cause_of(t) AS CASE
    WHEN t.gave_up <> '' THEN CASE t.gave_up
        WHEN 'down_queue_full' THEN 'queue_full'
        WHEN 'down_queue_timeout' THEN 'queue_timeout'
        WHEN 'busy_queue_full' THEN 'overloaded'
        WHEN 'busy_queue_timeout' THEN 'overloaded'
        WHEN 'retry_budget' THEN 'retry_budget'
        WHEN 'poison' THEN 'poison'
    END
    WHEN t.status = 499 THEN 'upstream_timeout'  -- a service gave up on its sub-request
    WHEN NOT t.tried
    THEN CASE WHEN t.status < 500 THEN 'client_error' ELSE 'unexplained' END
    WHEN t.status = 500 AND t.way IS NULL AND t.last_status IS NULL THEN 'proxy_error'
    WHEN t.last_status <> t.status THEN 'unexplained'
    WHEN t.way IS NULL THEN 'no_live_instance'
    WHEN list_has_any(t.ways, ['unknown', 'answer', 'left by its client']) THEN 'unexplained'
    WHEN t.way = 'client error' THEN 'client_error'
    WHEN len(t.ways) = 1
        OR t.class = 'non_retryable' AND t.way NOT IN ('refused', 'connect timeout')
        OR t.way IN ('error', 'injected error') AND t.status NOT IN (502, 503, 504)
    THEN CASE t.way
        WHEN 'refused' THEN 'refused_everywhere'
        WHEN 'connect timeout' THEN 'connect_timeout'
        WHEN 'timeout' THEN 'upstream_timeout'
        WHEN 'shed' THEN 'shed'
        WHEN 'error' THEN 'service_error'
        WHEN 'injected error' THEN 'injected_error'
        WHEN 'died' THEN CASE WHEN t.class = 'non_retryable' THEN 'reset_not_retried' ELSE 'tries_exhausted' END
    END
    ELSE 'tries_exhausted'
END;

-- The last row that the proxy has of the client's own request.
CREATE TEMP TABLE own_trails AS
FROM trails
WHERE id = root
QUALIFY row_number() OVER (PARTITION BY root ORDER BY ended_at DESC) = 1;

-- The sub-request that made its root fail: the last one that failed, and rather one that got no
-- answer from a service than one that was told of somebody else's failure.
CREATE TEMP TABLE sub_trails AS
FROM trails
WHERE id <> root AND status >= 499
QUALIFY row_number() OVER (
    PARTITION BY root ORDER BY coalesce(way IN ('shed', 'error'), false), ended_at DESC
) = 1;

-- Requests that nginx never logged and that were under way when one of its workers was killed, alone
-- or with everything else. The kernel tells the client at once; a second is for one late to look.
CREATE TEMP TABLE orphans AS
SELECT DISTINCT r.seq
FROM requests AS r
JOIN injections AS i
    ON r.sent <= coalesce(i.confirmed, i.began)
    AND r.done BETWEEN i.began AND coalesce(i.confirmed, i.began) + 1
WHERE i.fault IN ('nginx_worker', 'kill_everything') AND NOT i.skipped
    AND r.status = 0 AND r.error IN ('reset', 'closed') AND r.proxy_rows = 0;

-- Requests that were sent while workers of nginx went and that nobody got: an old worker closes its
-- idle connections, and HTTP/1.1 has no way to announce that. It does so within the reload, or
-- before a dead master's workers are proved to be gone, and the client notices at once; half a
-- second is for old workers that are late.
CREATE TEMP TABLE missed AS
SELECT DISTINCT r.seq
FROM requests AS r
JOIN injections AS i
    ON r.sent BETWEEN i.began AND 0.5 + CASE i.fault
        WHEN 'nginx_reload' THEN coalesce(i.confirmed, i.began)
        ELSE coalesce(i.healed, i.confirmed, i.began)
    END
WHERE i.fault IN ('nginx_reload', 'kill_nginx') AND NOT i.skipped
    AND r.status = 0 AND r.error IN ('reset', 'closed') AND r.proxy_rows = 0 AND r.executions = 0;

-- Errors that nginx never logged and that an instance says it answered.
CREATE TEMP TABLE unlogged AS
SELECT r.seq, bool_or(x.fault = 'errors') AS injected
FROM requests AS r
JOIN executions AS x ON x.id = r.id AND x.instance = r.instance AND x.status = r.status
WHERE r.status >= 400 AND r.proxy_rows = 0
GROUP BY r.seq;

-- One row a request that was not answered. `detail` is the evidence in short: how it ended for the
-- client, then what the proxy has of it.
CREATE TEMP TABLE found AS
SELECT r.seq,
    CASE
        WHEN r.error = 'unsent' THEN 'not_sent'
        WHEN r.error = 'stopped' THEN 'client_stopped'
        WHEN r.error = 'gave_up' THEN 'client_left'
        WHEN r.error = 'refused' AND r.proxy_rows = 0 THEN 'proxy_refused'
        WHEN r.error = 'timeout' THEN CASE
            -- A client that had the whole answer a second before did not give up on it.
            WHEN own.complete = 'OK' AND own.ended_at < r.done - 1 THEN 'unexplained'
            ELSE 'client_timeout'
        END
        WHEN r.status = 0 THEN CASE
            WHEN o.seq IS NOT NULL THEN 'proxy_worker_died'
            WHEN m.seq IS NOT NULL THEN 'idle_closed'
            WHEN r.error IN ('reset', 'closed', 'other')
                AND own.began_answer AND own.last_status = own.status
            THEN 'truncated'
            ELSE 'unexplained'
        END
        WHEN r.status < 400 THEN 'wrong_answer'
        WHEN u.seq IS NOT NULL THEN CASE
            WHEN u.injected THEN 'injected_error'
            WHEN r.status = 503 THEN 'shed'
            WHEN r.status >= 500 THEN 'service_error'
            ELSE 'client_error'
        END
        WHEN own.status IS DISTINCT FROM r.status THEN 'unexplained'
        WHEN own.gave_up = '' AND own.way IN ('shed', 'error') AND sub.id IS NOT NULL THEN cause_of(sub)
        ELSE cause_of(own)
    END AS cause,
    concat_ws(': ',
        CASE
            WHEN r.status = 0 THEN r.error
            WHEN r.status < 400 THEN r.wrong
            ELSE r.status::VARCHAR
        END,
        CASE
            WHEN r.error IN ('unsent', 'refused') THEN NULL
            WHEN own.id IS NULL THEN 'no proxy row'
            WHEN own.status <> r.status THEN 'proxy ' || own.status
        END,
        own.said,
        'sub-request ' || sub.id, sub.said
    ) AS detail
FROM requests AS r
LEFT JOIN own_trails AS own ON own.root = r.id
LEFT JOIN sub_trails AS sub ON sub.root = r.id
LEFT JOIN orphans AS o USING (seq)
LEFT JOIN missed AS m USING (seq)
LEFT JOIN unlogged AS u USING (seq)
WHERE r.outcome <> 'answered';

UPDATE requests SET cause = f.cause, detail = f.detail FROM found AS f WHERE f.seq = requests.seq;
