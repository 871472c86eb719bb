-- events.jsonl, in the order of time.
INSERT INTO events
SELECT t, kind, coalesce(target, ''), coalesce(fault, ''), coalesce(n, 0), coalesce(detail, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    t: 'DOUBLE', kind: 'VARCHAR', target: 'VARCHAR', fault: 'VARCHAR', n: 'INTEGER',
    detail: 'VARCHAR'
})
ORDER BY t;
