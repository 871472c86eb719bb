-- service.jsonl; each end leaves out the fields of the other one.
INSERT INTO service
SELECT kind, t, id, n, instance, pid, boot, coalesce(method, ''), coalesce(target, ''), key,
    coalesce(status, 0), coalesce(effect, ''), coalesce(fault, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    kind: 'VARCHAR', t: 'DOUBLE', id: 'VARCHAR', n: 'BIGINT', instance: 'VARCHAR', pid: 'INTEGER',
    boot: 'VARCHAR', method: 'VARCHAR', target: 'VARCHAR', key: 'VARCHAR', status: 'INTEGER',
    effect: 'VARCHAR', fault: 'VARCHAR'
});
-- Rows that an instance could not write, by its own count.
INSERT INTO lost_rows
SELECT 'service', format('{} (boot {})', instance, boot), 'dropped', sum(n)::BIGINT
FROM service WHERE kind = 'dropped' GROUP BY instance, boot ORDER BY instance, boot;
