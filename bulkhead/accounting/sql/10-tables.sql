-- The evidence as it was written: one table per observer, one row per line of its JSONL file.
-- NOT NULL and CHECK are the shape of bulkhead/records.py: a line that breaks it is no evidence.
-- `root` is computed when it is asked for: it would be the id once more for nearly every row.
-- Times are monotonic seconds; nginx's and the ledger's wall clock is brought over by run.json.

-- What the client saw of each request. The view `client` shows it again from the requests, which
-- have all of it; `seq`, the number of the line, is where a row lies in this table.
CREATE TEMP TABLE client_rows (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    planned DOUBLE NOT NULL,
    sent DOUBLE NOT NULL,
    done DOUBLE NOT NULL,
    status INTEGER NOT NULL,
    error VARCHAR NOT NULL CHECK (
        error IN ('', 'refused', 'reset', 'closed', 'timeout', 'stopped', 'unsent', 'other')
    ),
    wrong VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    boot VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    effect VARCHAR NOT NULL CHECK (effect IN ('read', 'create', 'replace', 'change', 'delete')),
    entry VARCHAR NOT NULL,
    replayed BOOLEAN NOT NULL
);

-- What nginx saw of each request, sub-requests of services and other people's included.
CREATE TABLE proxy (
    id VARCHAR NOT NULL,
    proxy_id VARCHAR NOT NULL,
    ended DOUBLE NOT NULL,
    took DOUBLE NOT NULL,
    method VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    status INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    complete VARCHAR NOT NULL,
    request_class VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    client VARCHAR NOT NULL,
    worker INTEGER NOT NULL,
    connection BIGINT NOT NULL,
    addrs VARCHAR NOT NULL,
    statuses VARCHAR NOT NULL,
    connect VARCHAR NOT NULL,
    header VARCHAR NOT NULL,
    response VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    boot VARCHAR NOT NULL,
    held DOUBLE NOT NULL,
    gave_up VARCHAR NOT NULL CHECK (
        gave_up IN ('', 'dead_full', 'dead_late', 'busy_full', 'busy_late', 'retry_budget')
    ),
    began_at DOUBLE NOT NULL,
    ended_at DOUBLE NOT NULL,
    root VARCHAR AS (root_of(id))
);

-- The two ends of every execution, until they are joined.
CREATE TEMP TABLE service (
    kind VARCHAR NOT NULL CHECK (kind IN ('begin', 'end')),
    t DOUBLE NOT NULL,
    id VARCHAR NOT NULL,
    n BIGINT NOT NULL,
    instance VARCHAR NOT NULL,
    pid INTEGER NOT NULL,
    boot VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    key VARCHAR,
    status INTEGER NOT NULL,
    effect VARCHAR NOT NULL CHECK (effect IN ('', 'none', 'applied', 'replayed')),
    fault VARCHAR NOT NULL
);

-- What the ledger applied, in the order of its commits.
CREATE TABLE effects (
    seq BIGINT NOT NULL,
    request_id VARCHAR NOT NULL,
    key VARCHAR,
    op VARCHAR NOT NULL CHECK (op IN ('create', 'replace', 'change', 'delete')),
    entry_id VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    instance VARCHAR NOT NULL,
    boot VARCHAR NOT NULL,
    "at" DOUBLE NOT NULL,
    applied_at DOUBLE NOT NULL,
    root VARCHAR AS (root_of(request_id))
);

-- What the ledger held of every entry that the run touched, after the run.
CREATE TABLE entries (
    id VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL
);

-- What the watchdog saw and did.
CREATE TABLE watch (
    t DOUBLE NOT NULL,
    kind VARCHAR NOT NULL CHECK (
        kind IN ('watching', 'exit', 'started', 'ready', 'hang', 'crashing', 'recovered', 'stray',
            'supervisord', 'host')
    ),
    target VARCHAR NOT NULL,
    detail VARCHAR NOT NULL
);

-- What happened to the stack and to the run.
CREATE TABLE events (
    t DOUBLE NOT NULL,
    kind VARCHAR NOT NULL CHECK (
        kind IN ('phase', 'inject', 'held', 'heal', 'healed', 'failed', 'skipped', 'state')
    ),
    target VARCHAR NOT NULL,
    fault VARCHAR NOT NULL,
    n INTEGER NOT NULL,
    detail VARCHAR NOT NULL
);
