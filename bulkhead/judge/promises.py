"""The promises that every drill makes, and that only the stack can break: each is a FAIL.

A write is acknowledged when its client got a whole answer of 2xx or 3xx with nothing wrong in it.
An effect belongs to the client's request that its id comes from (`root`).
"""

from bulkhead.judge.case import EXAMPLES, Case, Finding, Rule, offenders

# nginx logs a request after it has sent the answer. A worker that is frozen and killed between the
# two leaves an answer without a row; the client may have seen it this much before or after.
WORKER_FAULTS = ("nginx_worker", "kill_everything")
SLACK_S = 0.5

ACKNOWLEDGED = (
    "(client.effect <> 'read' AND client.status BETWEEN 200 AND 399 AND client.wrong = '')"
)


def accounted(case: Case) -> Finding:
    """Answers, proxy rows and executions belong together.

    A whole answer without a proxy row, a proxy row or an execution of a request that was never
    sent, and an execution that no attempt of the proxy explains.
    """
    unlogged = case.rows(_UNLOGGED, faults=list(WORKER_FAULTS), slack=SLACK_S)
    missing = [id for id, excused in unlogged if not excused]
    unsent = case.column(_UNSENT)
    unexplained = case.column(_UNEXPLAINED_EXECUTIONS)
    parts = {
        "whole answers without a proxy row": missing,
        "requests logged though never sent": unsent,
        "requests executed more often than the proxy tried": unexplained,
    }
    found = [id for ids in parts.values() for id in ids]
    said = ", ".join(f"{len(ids)} {words}" for words, ids in parts.items() if ids)
    excused = len(unlogged) - len(missing)
    figure = f"{len(found)} unaccounted" + (
        f", and {excused} answered by nginx workers that were killed before they logged it"
        if excused
        else ""
    )
    return Finding(figure, said, len(found), tuple(found[:EXAMPLES]))


# No worker can have more answers to log than requests were in its hands when it was killed.
_UNLOGGED = """
    WITH kills AS (
        SELECT
            n, began, held,
            (SELECT count(*) FROM client WHERE sent > 0 AND began BETWEEN sent AND done) AS in_hand
        FROM injections WHERE list_contains($faults, fault) AND held IS NOT NULL
    ),
    unlogged AS (
        SELECT id, done, n, greatest(in_hand, 1) AS most, abs(done - began) AS distance
        FROM requests LEFT JOIN kills ON done BETWEEN began - $slack AND held + $slack
        WHERE status > 0 AND proxy_rows = 0
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY distance) = 1
    )
    SELECT id, n IS NOT NULL AND row_number() OVER (PARTITION BY n ORDER BY distance, id) <= most
    FROM unlogged ORDER BY done
"""

_UNSENT = """
    SELECT id FROM requests
    WHERE error IN ('unsent', 'refused') AND (proxy_rows > 0 OR executions > 0)
    ORDER BY planned
"""

# Where the row of a killed worker is missing, so are its attempts: the request's cause tells of it.
_UNEXPLAINED_EXECUTIONS = """
    WITH executed AS (SELECT id, instance, count(*) AS times FROM executions GROUP BY ALL),
    tried AS (SELECT id, instance, count(*) AS times FROM attempts GROUP BY ALL)
    SELECT DISTINCT requests.id
    FROM requests JOIN executed ON executed.id = requests.id
        LEFT JOIN tried ON tried.id = executed.id AND tried.instance = executed.instance
    WHERE requests.proxy_rows > 0 AND executed.times > coalesce(tried.times, 0)
    ORDER BY requests.id
"""


def sent_once(case: Case) -> Finding:
    """No client sent a request a second time by itself."""
    return offenders(
        case.column("SELECT id FROM requests WHERE proxy_rows > 1 ORDER BY planned"),
        "requests sent more than once",
    )


def nothing_lost(case: Case) -> Finding:
    """Every acknowledged write was applied, and the ledger holds what was applied last."""
    return offenders(
        list(dict.fromkeys(case.column(_NOT_APPLIED) + case.column(_NOT_HELD))), "writes lost"
    )


# A replayed answer has its effect under the id of the request that was there first: by the key.
_NOT_APPLIED = f"""
    SELECT client.id FROM client
    WHERE {ACKNOWLEDGED}
        AND client.id NOT IN (SELECT root FROM effects)
        AND (client.key = '' OR client.key NOT IN (SELECT key FROM effects WHERE key IS NOT NULL))
    ORDER BY client.planned
"""

# An id that came back after its deletion has two rows; the one with the higher version counts.
_NOT_HELD = """
    WITH last AS (
        SELECT
            entry_id, arg_max(root, seq) AS root,
            arg_max(version, seq) AS version, arg_max(op, seq) AS op
        FROM effects GROUP BY entry_id
    ),
    held AS (
        SELECT id, max(version) AS version, arg_max(deleted, version) AS deleted
        FROM entries GROUP BY id
    )
    SELECT last.root FROM last LEFT JOIN held ON held.id = last.entry_id
    WHERE held.id IS NULL OR held.version <> last.version OR held.deleted <> (last.op = 'delete')
    ORDER BY last.root
"""


def nothing_doubled(case: Case) -> Finding:
    """No request and no key was applied a second time, the keys that the proxy made included."""
    return offenders(case.column(_DOUBLED), "effects applied again")


_DOUBLED = """
    WITH numbered AS (
        SELECT
            seq, root, effects.key,
            row_number() OVER (PARTITION BY coalesce(id, request_id) ORDER BY seq) AS of_request,
            row_number() OVER (PARTITION BY effects.key ORDER BY seq) AS of_key
        FROM effects LEFT JOIN (SELECT id FROM client) ON id = root
    )
    SELECT root FROM numbered WHERE of_request > 1 OR (key <> '' AND of_key > 1) ORDER BY seq
"""


def nothing_repeated(case: Case) -> Finding:
    """What may not be repeated was executed once, also where the ledger made a repetition harmless.

    By the class that nginx gave it: sub-requests of a service have one too.
    """
    return offenders(case.column(_REPEATED), "requests of class once executed again")


_REPEATED = """
    SELECT id FROM executions
    WHERE id IN (SELECT id FROM proxy WHERE request_class = 'once')
    GROUP BY id HAVING count(*) > 1
    ORDER BY min(began)
"""


def nothing_stale(case: Case) -> Finding:
    """No write overtook an acknowledged one that was sent only after it had ended."""
    return offenders(case.column(_STALE), "newer writes overwritten by older ones")


# Per entry, in the order of application: was any acknowledged write before this one sent later
# than this one's client was done with it? Writes that overlap may be applied in either order.
_STALE = f"""
    SELECT root FROM (
        SELECT
            effects.seq, effects.root, client.done,
            max(CASE WHEN {ACKNOWLEDGED} THEN client.sent END) OVER (
                PARTITION BY effects.entry_id ORDER BY effects.seq
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS newest_sent
        FROM effects JOIN client ON client.id = effects.root
    )
    WHERE newest_sent > done
    ORDER BY seq
"""


def explained(case: Case) -> Finding:
    """Every request that was not answered has one cause, of those that there are."""
    return offenders(case.column(_UNEXPLAINED), "requests without an explanation")


_UNEXPLAINED = """
    SELECT id FROM requests
    WHERE outcome <> 'answered'
        AND (cause = 'unexplained' OR cause NOT IN (SELECT name FROM causes))
    ORDER BY planned
"""


def all_back(case: Case) -> Finding:
    """Every instance is up when the run ends."""
    return offenders(case.column(_NOT_BACK), "instances not up in the end")


_NOT_BACK = """
    SELECT instance FROM states GROUP BY instance HAVING arg_max(state, began) <> 'up'
    ORDER BY instance
"""


def ghosts(case: Case) -> Finding:
    """Writes that were applied without their client being told: a figure, not a promise."""
    return offenders(case.column(_GHOSTS), "writes applied without their client being told")


_GHOSTS = """
    SELECT client.id FROM client
    WHERE client.status NOT BETWEEN 200 AND 399
        AND client.id IN (SELECT root FROM effects)
    ORDER BY client.planned
"""

RULES: tuple[Rule, ...] = (
    accounted,
    sent_once,
    nothing_lost,
    nothing_doubled,
    nothing_repeated,
    nothing_stale,
    explained,
    all_back,
)
NOTES: tuple[Rule, ...] = (ghosts,)
