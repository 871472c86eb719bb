-- One row an execution: its begin and its end, joined by (instance, boot, n), which names it: two
-- hosts may have the same boots. One that was killed has no end. A second row of either end
-- makes a second execution of that name.
CREATE TABLE executions (
    boot VARCHAR NOT NULL,
    n BIGINT NOT NULL,
    id VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    pid INTEGER NOT NULL,
    began DOUBLE NOT NULL,
    ended DOUBLE,
    method VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    key VARCHAR,
    status INTEGER,
    effect VARCHAR NOT NULL,
    fault VARCHAR NOT NULL,
    root VARCHAR AS (root_of(id))
);
INSERT INTO executions
SELECT b.boot, b.n, b.id, b.instance, b.pid, b.t, e.t, b.method, b.target, b.key, e.status,
    coalesce(e.effect, ''), coalesce(e.fault, '')
FROM (FROM service WHERE kind = 'begin') AS b
LEFT JOIN (FROM service WHERE kind = 'end') AS e USING (instance, boot, n, id, pid);

-- Ends that fit no begin.
CREATE TABLE ends_alone AS
SELECT e.id, e.instance, e.boot, e.n, e.t
FROM (FROM service WHERE kind = 'end') AS e
ANTI JOIN (FROM service WHERE kind = 'begin') AS b USING (instance, boot, n, id, pid);
