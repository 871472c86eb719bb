-- One row an attempt: nginx's five lists, taken apart. Groups (" : ") are attempts like any other,
-- and "-" is what never came to be. An address that is an upstream's name, or empty, is no instance:
-- nginx had none left to try.
CREATE TABLE attempts (
    id VARCHAR NOT NULL,
    proxy_id VARCHAR NOT NULL,
    n INTEGER NOT NULL,
    address VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    status INTEGER,
    connect_s DOUBLE,
    header_s DOUBLE,
    response_s DOUBLE,
    root VARCHAR AS (root_of(id))
);
INSERT INTO attempts
WITH each AS (
    SELECT id, proxy_id,
        unnest(range(1, tries_of(addrs, statuses) + 1)) AS n,
        unnest(list_of(addrs)) AS address,
        unnest(list_of(statuses)) AS status,
        unnest(list_of(connect)) AS connect,
        unnest(list_of(header)) AS header,
        unnest(list_of(response)) AS response
    FROM proxy
    WHERE tries_of(addrs, statuses) > 0
)
SELECT id, proxy_id, n, coalesce(address, ''),
    coalesce(i.name, CASE WHEN contains(address, ':') THEN address ELSE '' END),
    known(status)::INTEGER,
    known(connect)::DOUBLE,
    known(header)::DOUBLE,
    known(response)::DOUBLE
FROM each
LEFT JOIN instances AS i USING (address);
