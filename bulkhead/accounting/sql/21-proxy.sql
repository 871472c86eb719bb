-- proxy.jsonl; nginx logs when a request ended and how long it took, by the wall clock.
-- A stack without a request queue writes neither `queued` nor `gave_up`.
INSERT INTO proxy
SELECT id, proxy_id, ended, took, method, target, status, bytes, complete, request_class, key,
    client, worker, connection, addrs, statuses, connect, header, response, instance, boot,
    coalesce(queued, 0), coalesce(gave_up, ''),
    ended - getvariable('wall_offset') - took, ended - getvariable('wall_offset')
FROM read_json(getvariable('rows'), format = 'newline_delimited', columns = {
    id: 'VARCHAR', proxy_id: 'VARCHAR', ended: 'DOUBLE', took: 'DOUBLE', method: 'VARCHAR',
    target: 'VARCHAR', status: 'INTEGER', bytes: 'BIGINT', complete: 'VARCHAR',
    request_class: 'VARCHAR', key: 'VARCHAR', client: 'VARCHAR', worker: 'INTEGER',
    connection: 'BIGINT', addrs: 'VARCHAR', statuses: 'VARCHAR', connect: 'VARCHAR',
    header: 'VARCHAR', response: 'VARCHAR', instance: 'VARCHAR', boot: 'VARCHAR',
    queued: 'DOUBLE', gave_up: 'VARCHAR'
});
