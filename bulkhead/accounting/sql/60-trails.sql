-- How the attempts ended, of every proxy row that a request without a good answer has, those of its
-- sub-requests included.

-- One row an attempt. nginx's status alone does not tell: 502 is a refused connection, a death with
-- the request in hand, or an answer. What tells is how far the attempt got: without a connect time
-- it was never connected, without a header time no answer began.
CREATE TEMP TABLE tries AS
SELECT a.id, a.proxy_id, a.n, a.instance, a.status,
    CASE
        WHEN a.instance = '' THEN 'no live instance'
        WHEN a.status IS NULL THEN 'left by its client'
        WHEN a.header_s IS NOT NULL THEN CASE
            WHEN x.id IS NOT NULL THEN 'injected error'
            WHEN a.status = 503 THEN 'shed'
            WHEN a.status >= 500 THEN 'error'
            WHEN a.status >= 400 THEN 'client error'
            ELSE 'answer'
        END
        WHEN a.status = 502 THEN CASE WHEN a.connect_s IS NULL THEN 'refused' ELSE 'died' END
        WHEN a.status = 504
        THEN CASE WHEN a.connect_s IS NULL THEN 'connect timeout' ELSE 'timeout' END
        ELSE 'unknown'
    END AS way,
    a.header_s IS NOT NULL AS began_answer
FROM attempts AS a
SEMI JOIN (FROM requests WHERE outcome IN ('failed', 'indeterminate')) AS r ON r.id = a.root
LEFT JOIN (
    SELECT DISTINCT id, instance, status FROM executions WHERE fault = 'errors'
) AS x ON x.id = a.id AND x.instance = a.instance AND x.status = a.status;

-- One row a proxy row. `ways` are the different ways in which its attempts at instances ended and
-- `way` that of the last of them, NULL when there was none. `last_status` and `began_answer` are
-- the last attempt's, whatever it was, but for one that found nobody and so has no status; `tried`
-- is false when nginx answered by itself.
CREATE TEMP TABLE trails AS
SELECT p.root, p.id, p.status, p.complete, p.ended_at, p.request_class AS class, p.gave_up,
    t.id IS NOT NULL AS tried, t.ways, t.way, t.last_status, t.began_answer,
    concat_ws(', ',
        coalesce(t.said, CASE WHEN p.gave_up = '' THEN 'the proxy itself' END),
        CASE WHEN p.gave_up <> '' OR p.queued > 0 THEN format('queued {:.3f} s', p.queued) END,
        CASE WHEN p.gave_up <> '' THEN 'gave up ' || p.gave_up END
    ) AS said
FROM proxy AS p
SEMI JOIN (FROM requests WHERE outcome IN ('failed', 'indeterminate')) AS r ON r.id = p.root
LEFT JOIN (
    SELECT id, proxy_id,
        list(DISTINCT way) FILTER (instance <> '') AS ways,
        arg_max(way, n) FILTER (instance <> '') AS way,
        arg_max(coalesce(status, CASE WHEN instance <> '' THEN 0 END), n) AS last_status,
        arg_max(began_answer, n) AS began_answer,
        string_agg(trim(instance || ' ' || way), ', ' ORDER BY n) AS said
    FROM tries
    GROUP BY id, proxy_id
) AS t USING (id, proxy_id);
