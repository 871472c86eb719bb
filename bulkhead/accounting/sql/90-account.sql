-- Figures of the account itself, by name. Seconds are monotonic where they name a moment. NULL is
-- what the run cannot tell: `watch_rows` where no watchdog watched.
CREATE TABLE account (key VARCHAR NOT NULL, value DOUBLE);
INSERT INTO account VALUES
    ('client_rows', (SELECT count(*) FROM client)),
    ('proxy_rows', (SELECT count(*) FROM proxy)),
    ('service_rows', (SELECT count(*) FROM service)),
    ('effects_rows', (SELECT count(*) FROM effects)),
    ('entries_rows', (SELECT count(*) FROM entries)),
    ('events_rows', (SELECT count(*) FROM events)),
    ('watch_rows', CASE WHEN getvariable('watched') THEN (SELECT count(*) FROM watch) END),
    ('began', (SELECT t FROM run_began)),
    ('ended', (SELECT t FROM run_ended)),
    ('wall_offset_s', getvariable('wall_offset')),
    ('baseline_median_s', (SELECT median_s FROM usual)),
    ('slow_s', (SELECT slow_s FROM usual));
