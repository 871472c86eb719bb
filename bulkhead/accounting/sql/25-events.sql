-- events.jsonl, in the order of time; `line` is where each lies in the file.
SET preserve_insertion_order = true;
INSERT INTO events
SELECT row_number() OVER (), t, kind, coalesce(target, ''), coalesce(fault, ''), coalesce(n, 0), coalesce(detail, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    t: 'DOUBLE', kind: 'VARCHAR', target: 'VARCHAR', fault: 'VARCHAR', n: 'INTEGER',
    detail: 'VARCHAR'
})
ORDER BY t;
SET preserve_insertion_order = false;
