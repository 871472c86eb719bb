-- client.jsonl; a field that records.py gives a default may be absent.
INSERT INTO client_rows
SELECT id, name, method, target, planned, sent, done, status,
    coalesce(error, ''), coalesce(wrong, ''), coalesce(key, ''), coalesce(instance, ''),
    coalesce(boot, ''), coalesce(bytes, 0), coalesce(effect, 'read'), coalesce(entry, ''),
    coalesce(replayed, false), amount, found
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    id: 'VARCHAR', name: 'VARCHAR', method: 'VARCHAR', target: 'VARCHAR', planned: 'DOUBLE',
    sent: 'DOUBLE', done: 'DOUBLE', status: 'INTEGER', error: 'VARCHAR', wrong: 'VARCHAR',
    key: 'VARCHAR', instance: 'VARCHAR', boot: 'VARCHAR', bytes: 'BIGINT', effect: 'VARCHAR',
    entry: 'VARCHAR', replayed: 'BOOLEAN', amount: 'BIGINT', found: 'VARCHAR[][]'
});

-- From here on no order matters, and DuckDB is faster without keeping any.
SET preserve_insertion_order = false;
