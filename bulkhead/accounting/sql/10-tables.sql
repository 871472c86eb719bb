-- The evidence as it was written: one table per observer, one row per line of its JSONL file.
-- NOT NULL and CHECK are the shape of bulkhead/records.py: a line that breaks it is no evidence.
-- `root` is computed when it is asked for: it would be the id once more for nearly every row.
-- Times are monotonic seconds; nginx's and the ledger's wall clock is brought over by run.json.

-- Each request as the client saw it. The view `client` shows it again from the requests, which
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
        error IN ('', 'refused', 'reset', 'closed', 'timeout', 'gave_up', 'stopped', 'unsent', 'other')
    ),
    wrong VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    boot VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    effect VARCHAR NOT NULL CHECK (effect IN ('read', 'create', 'replace', 'change', 'delete')),
    entry VARCHAR NOT NULL,
    replayed BOOLEAN NOT NULL,
    amount BIGINT,
    found VARCHAR[][]
);

-- Each request as nginx saw it, sub-requests of services and other people's included.
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
    queued DOUBLE NOT NULL,
    gave_up VARCHAR NOT NULL CHECK (
        gave_up IN ('', 'down_queue_full', 'down_queue_timeout', 'busy_queue_full', 'busy_queue_timeout', 'retry_budget', 'poison')
    ),
    began_at DOUBLE NOT NULL,
    ended_at DOUBLE NOT NULL,
    root VARCHAR AS (root_of(id))
);

-- The two ends of every execution, until they are joined.
CREATE TEMP TABLE service (
    kind VARCHAR NOT NULL CHECK (kind IN ('begin', 'end', 'dropped')),
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

-- The writes that the ledger applied, in the order of its commits.
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
    amount BIGINT,
    applied_at DOUBLE NOT NULL,
    root VARCHAR AS (root_of(request_id))
);

-- Each entry that the run touched, as the ledger held it after the run.
CREATE TABLE entries (
    id VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    amount BIGINT
);

-- The watchdog's event log.
CREATE TABLE watch (
    line BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    kind VARCHAR NOT NULL CHECK (
        kind IN ('watching', 'exit', 'started', 'ready', 'hang', 'crashing', 'recovered', 'orphan',
            'supervisord', 'blocked', 'host', 'dropped')
    ),
    target VARCHAR NOT NULL,
    detail VARCHAR NOT NULL
);

-- Events of the stack and of the run.
CREATE TABLE events (
    line BIGINT NOT NULL,
    t DOUBLE NOT NULL,
    kind VARCHAR NOT NULL CHECK (
        kind IN ('phase', 'inject', 'confirmed', 'heal', 'healed', 'failed', 'skipped', 'state')
    ),
    target VARCHAR NOT NULL,
    fault VARCHAR NOT NULL,
    n INTEGER NOT NULL,
    detail VARCHAR NOT NULL
);

-- Rows that an observer could not write, as far as that is known: `dropped` ones, which it counted
-- itself, and lines that were cut short. `who` is the writer, or the file.
CREATE TABLE lost_rows (
    observer VARCHAR NOT NULL CHECK (observer IN ('proxy', 'service', 'watch')),
    who VARCHAR NOT NULL,
    how VARCHAR NOT NULL CHECK (how IN ('dropped', 'cut')),
    rows BIGINT NOT NULL
);
