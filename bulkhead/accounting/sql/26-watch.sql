-- watch.jsonl, in the order of time; `line` is where each lies in the file. Without a watchdog there is no such file.
SET preserve_insertion_order = true;
INSERT INTO watch
SELECT row_number() OVER (), t, kind, coalesce(target, ''), coalesce(detail, '')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    t: 'DOUBLE', kind: 'VARCHAR', target: 'VARCHAR', detail: 'VARCHAR'
})
ORDER BY t;
INSERT INTO lost_rows
SELECT 'watch', target, 'dropped', sum(detail::BIGINT)::BIGINT
FROM watch WHERE kind = 'dropped' GROUP BY target;
SET preserve_insertion_order = false;
