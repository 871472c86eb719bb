-- The rows of several hosts on one time line, which is the client's.
--
-- Each host has a clock of its own, and every request that it answers tells something of it: the
-- execution began after the request was sent and before its client had the answer. So each request
-- bounds what must be added to that host's times; all of them together leave a small interval, as
-- wide as the fastest answer took (the idea of Cristian 1989 and of NTP). Where 0 is in it the two
-- clocks agree as far as anybody can see, and nothing is added; else its middle is. Where the
-- interval is empty the clock was changed meanwhile: `least_s` is above `most_s`, and the rule
-- clocks_agree says so. Instances of one host have names without a dot, and need none of it.
CREATE MACRO host_of(instance) AS split_part(instance, '.', 2);
CREATE TEMP MACRO added(least, most) AS
    CASE WHEN least <= 0 AND most >= 0 THEN 0 ELSE (least + coalesce(most, least)) / 2 END;

-- One row a host and clock: `monotonic` is that of the executions, `wall` that of the effects.
CREATE TABLE clocks AS
SELECT host, clock, least_s, most_s, added(least_s, most_s) AS added_s
FROM (
    SELECT host_of(s.instance) AS host, 'monotonic' AS clock,
        max(c.sent - s.t) AS least_s,
        min(c.done - s.t) FILTER (c.id = s.id AND c.boot = s.boot AND c.instance = s.instance
            AND c.status > 0) AS most_s
    FROM service AS s JOIN client_rows AS c ON c.id = root_of(s.id)
    WHERE s.kind = 'begin' AND contains(s.instance, '.')
    GROUP BY ALL
    UNION ALL
    SELECT host_of(e.instance), 'wall',
        max(c.sent - e.applied_at),
        min(c.done - e.applied_at) FILTER (c.id = e.request_id AND c.boot = e.boot
            AND c.instance = e.instance AND c.status BETWEEN 200 AND 399)
    FROM effects AS e JOIN client_rows AS c ON c.id = root_of(e.request_id)
    WHERE contains(e.instance, '.')
    GROUP BY ALL
)
ORDER BY host, clock;

UPDATE service SET t = t + added_s FROM clocks
WHERE clock = 'monotonic' AND added_s <> 0 AND host = host_of(instance);
UPDATE effects SET applied_at = applied_at + added_s FROM clocks
WHERE clock = 'wall' AND added_s <> 0 AND host = host_of(instance);
-- The event log of a host's watchdog; the proxy's own rows are of no host that executes anything.
UPDATE watch SET t = t + added_s FROM clocks
WHERE clock = 'monotonic' AND added_s <> 0 AND host = host_of(target);
