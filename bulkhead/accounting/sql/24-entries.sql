-- entries.jsonl.
INSERT INTO entries
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    id: 'VARCHAR', version: 'BIGINT', deleted: 'BOOLEAN', amount: 'BIGINT'
});
