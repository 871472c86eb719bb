-- Words that the steps share.

-- The client's request on whose behalf a request was made.
CREATE MACRO root_of(id) AS CASE WHEN contains(id, '.') THEN split_part(id, '.', 1) ELSE id END;

-- One of nginx's lists. Attempts are joined by ", ", groups of attempts by " : " (a request that
-- waited in the request queue, or was redirected, begins a new group); the ":" of an address has no spaces
-- around it. An attempt that never came to be is "-" or empty.
CREATE MACRO list_of(text) AS string_split(replace(text, ' : ', ', '), ', ');
CREATE MACRO known(element) AS CASE WHEN element IN ('', '-') THEN NULL ELSE element END;

-- How many attempts nginx's lists of addresses and statuses tell of. A balancer that found nobody
-- leaves an empty address, and its status may be all there is.
CREATE MACRO tries_of(addrs, statuses) AS CASE
    WHEN addrs = '' AND statuses = '' THEN 0
    ELSE greatest(len(list_of(addrs)), len(list_of(statuses)))
END;

-- A request that is harmless to repeat, by the rule that nginx applies (nginx/nginx.conf.j2).
CREATE MACRO class_of(method, key) AS CASE
    WHEN key <> '' AND method IN ('POST', 'PATCH') THEN 'retryable'
    WHEN method IN ('GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE') THEN 'retryable'
    ELSE 'non_retryable'
END;
