-- The closed sets: every outcome, cause and delay cause that a request can have, one row each.
-- docs/causes.md says what to look at and what to do.

CREATE TABLE outcomes (name VARCHAR NOT NULL, meaning VARCHAR NOT NULL);
INSERT INTO outcomes VALUES
    ('answered', 'a whole answer with a status below 400 and nothing wrong in it'),
    ('failed', 'another whole answer, or a read without one, or nothing was sent at all'),
    ('indeterminate', 'a write that may have been sent and got no whole answer, or the client left'),
    ('not_sent', 'the load generator had no free connection in time');

-- A request that was not answered has exactly one of these.
CREATE TABLE causes (name VARCHAR NOT NULL, meaning VARCHAR NOT NULL);
INSERT INTO causes VALUES
    ('refused_everywhere', 'every instance that was tried refused the connection'),
    ('no_live_instance', 'the proxy had no instance left that it would try'),
    ('proxy_error', 'the proxy itself failed before it could ask any instance'),
    ('queue_full', 'no instance was alive, and as many requests as may wait for one did'),
    ('queue_timeout', 'no instance was alive for as long as a request may wait for one'),
    ('overloaded', 'every living instance had all it takes, and the wait was full or over'),
    ('retry_budget', 'the budget of retries was spent, so the proxy did not try again'),
    ('poison', 'several processes died or hung with this request, and it was given to no other'),
    ('reset_not_retried', 'the instance died after it had got a request that may not be repeated'),
    ('tries_exhausted', 'every try failed, in more than one way or by dying with the request'),
    ('upstream_timeout', 'an instance took the request and did not answer in time'),
    ('connect_timeout', 'no instance that was tried accepted the connection in time'),
    ('shed', 'the service itself answered 503'),
    ('injected_error', 'the service was told by a fault to answer with an error'),
    ('service_error', 'the service itself answered another status of 500 or above'),
    ('client_error', 'the request was answered with a status of 400 to 499'),
    ('wrong_answer', 'a whole answer with a good status, but not the expected content'),
    ('client_timeout', 'the client gave up first'),
    ('proxy_worker_died', 'the nginx worker that had the request was killed'),
    ('idle_closed', 'a worker of nginx went and closed the idle connection on which it was just being sent'),
    ('proxy_refused', 'nginx refused the connection'),
    ('truncated', 'the answer had begun and was cut off'),
    ('not_sent', 'the load generator had no free connection in time'),
    ('client_left', 'the client hung up after give_up_s, by its own choice'),
    ('client_stopped', 'the end of the load cut the request off'),
    ('unexplained', 'no evidence fits');

-- A request that was answered late has exactly one of these: the largest part of its latency.
CREATE TABLE delay_causes (name VARCHAR NOT NULL, meaning VARCHAR NOT NULL);
INSERT INTO delay_causes VALUES
    ('sent_late', 'the load generator sent it after its planned time'),
    ('before_proxy', 'time outside of every attempt and wait: on the way to the proxy and back'),
    ('queued', 'it waited in the proxy for an instance that could take it'),
    ('retried', 'attempts that failed before the one that answered'),
    ('injected_slow', 'the service was told by a fault to be slow'),
    ('at_instance', 'it waited in the queue of the instance that answered'),
    ('service', 'the service worked on it'),
    ('unknown', 'the proxy has no row of it');
