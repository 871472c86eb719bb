-- The cause of every answer that came late: the largest part of its latency.

-- From when on an answer is late: ten times the usual latency, but never below 0.1 s.
CREATE TEMP TABLE usual AS
SELECT quantile_disc(latency_s, 0.5) AS median_s,
    greatest(0.1, coalesce(10 * median_s, 0)) AS slow_s
FROM requests
WHERE outcome = 'answered' AND phase = 'baseline';

CREATE TEMP TABLE late AS
SELECT seq, id, planned, sent, done, latency_s, proxy_rows
FROM requests
WHERE outcome = 'answered' AND latency_s > (SELECT slow_s FROM usual);

-- One row a proxy row: the seconds that it waited for an instance, those of all its attempts and of
-- the last one, who answered. nginx does one after the other, so they add up.
CREATE TEMP TABLE late_attempts AS
SELECT a.id, p.ended_at, p.queued AS waited_s,
    sum(a.response_s) AS all_s,
    arg_max(a.response_s, a.n) AS last_s,
    arg_max(a.instance, a.n) AS instance
FROM attempts AS a
JOIN proxy AS p USING (id, proxy_id)
SEMI JOIN late USING (id)
GROUP BY a.id, a.proxy_id, p.ended_at, p.queued
QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY p.ended_at DESC) = 1;

-- One row a request: its last execution at the instance that answered.
CREATE TEMP TABLE late_executions AS
SELECT x.id,
    arg_max(coalesce(x.ended - x.began, 0), x.began) AS took_s,
    arg_max(x.fault, x.began) AS fault
FROM executions AS x
SEMI JOIN late_attempts AS a ON a.id = x.id AND a.instance = x.instance
GROUP BY x.id;

-- One row a late answer, with the parts that its latency is the sum of. An execution ends a little
-- after its answer has left, so it counts for no more than its attempt.
CREATE TEMP TABLE parts AS
SELECT l.seq, l.proxy_rows, l.latency_s, coalesce(x.fault = 'slow', false) AS injected,
    l.sent - l.planned AS late_s,
    coalesce(a.waited_s, 0) AS queued_s,
    l.done - l.sent - coalesce(a.all_s, 0) - queued_s AS outside_s,
    coalesce(a.all_s - a.last_s, 0) AS retried_s,
    coalesce(least(x.took_s, a.last_s), 0) AS service_s,
    coalesce(a.last_s, 0) - service_s AS at_instance_s
FROM late AS l
LEFT JOIN late_attempts AS a USING (id)
LEFT JOIN late_executions AS x USING (id);

CREATE TEMP TABLE delays AS
SELECT seq,
    CASE WHEN proxy_rows = 0 THEN 'unknown' ELSE
        CASE greatest(queued_s, retried_s, service_s, at_instance_s, outside_s, late_s)
            WHEN queued_s THEN 'queued'
            WHEN retried_s THEN 'retried'
            WHEN service_s THEN CASE WHEN injected THEN 'injected_slow' ELSE 'service' END
            WHEN at_instance_s THEN 'at_instance'
            WHEN outside_s THEN 'before_proxy'
            ELSE 'sent_late'
        END
    END AS delay_cause,
    format(
        '{:.3f} s: sent late {:.3f}, before proxy {:.3f}, queued {:.3f}, retried {:.3f}, '
        'at instance {:.3f}, service {:.3f}',
        latency_s, late_s, outside_s, queued_s, retried_s, at_instance_s, service_s
    ) AS detail
FROM parts;

UPDATE requests SET delay_cause = d.delay_cause, detail = d.detail
FROM delays AS d
WHERE d.seq = requests.seq;
