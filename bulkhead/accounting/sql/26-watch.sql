-- watch.jsonl, in the order of time. Without a watchdog there is no such file.
INSERT INTO watch
SELECT t, kind, coalesce(target, ''), coalesce(detail, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    t: 'DOUBLE', kind: 'VARCHAR', target: 'VARCHAR', detail: 'VARCHAR'
})
ORDER BY t;
