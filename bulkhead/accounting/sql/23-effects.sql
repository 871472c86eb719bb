-- effects.jsonl; the ledger knows only the wall clock.
INSERT INTO effects
SELECT seq, request_id, key, op, entry_id, version, instance, boot, "at", amount,
    "at" - getvariable('wall_offset')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    seq: 'BIGINT', request_id: 'VARCHAR', key: 'VARCHAR', op: 'VARCHAR', entry_id: 'VARCHAR',
    version: 'BIGINT', instance: 'VARCHAR', boot: 'VARCHAR', "at": 'DOUBLE',
    amount: 'BIGINT'
});
