-- Words that the steps share.

-- The client's request on whose behalf a request was made.
CREATE MACRO root_of(id) AS CASE WHEN contains(id, '.') THEN split_part(id, '.', 1) ELSE id END;

-- One of nginx's lists. Attempts are joined by ", ", groups of attempts by " : "; the ":" of an
-- address has no spaces around it.
CREATE MACRO list_of(text) AS string_split(replace(text, ' : ', ', '), ', ');

-- A request that is harmless to repeat, by the rule that nginx applies (nginx/nginx.conf.j2).
CREATE MACRO class_of(method, key) AS CASE
    WHEN key <> '' AND method IN ('POST', 'PATCH') THEN 'repeatable'
    WHEN method IN ('GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE') THEN 'repeatable'
    ELSE 'once'
END;
