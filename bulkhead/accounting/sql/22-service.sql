-- service.jsonl; each end leaves out the fields of the other one.
INSERT INTO service
SELECT kind, t, id, n, instance, pid, boot, coalesce(method, ''), coalesce(target, ''), key,
    coalesce(status, 0), coalesce(effect, ''), coalesce(fault, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    kind: 'VARCHAR', t: 'DOUBLE', id: 'VARCHAR', n: 'BIGINT', instance: 'VARCHAR', pid: 'INTEGER',
    boot: 'VARCHAR', method: 'VARCHAR', target: 'VARCHAR', key: 'VARCHAR', status: 'INTEGER',
    effect: 'VARCHAR', fault: 'VARCHAR'
});
