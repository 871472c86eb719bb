"""Is the evidence whole, and is it of one piece? Where not, a run is INVALID."""

from bulkhead.judge.case import Case, Finding, Rule, offenders, problems

PROBE = "readiness-probe"

# CLOCK_MONOTONIC is one for all processes of a host. nginx has only the wall clock, which may be
# corrected during a run, and notes when it last looked at it.
SERVICE_CLOCK_S = 0.005
PROXY_CLOCK_S = 0.5
# Of several hosts each has a clock of its own; theirs are known as well as this, or not at all.
HOST_CLOCK_S = 0.1

# Who writes what into the account.
OBSERVERS = {
    "client": "the client",
    "proxy": "the proxy",
    "executions": "the services",
    "states": "the instances' states",
}


def not_empty(case: Case) -> Finding:
    """There is a request. Without one nothing else is judged: no rule would be about anything."""
    requests = case.one("SELECT count(*) FROM requests")
    said = "a run without requests shows nothing"
    return problems(f"{requests} requests", [] if requests else [said], "at least 1")


def run_complete(case: Case) -> Finding:
    """Every observer has rows, every request has an outcome, and the run reached its end."""
    sizes = {table: case.one(f"SELECT count(*) FROM {table}") for table in (*OBSERVERS, "requests")}
    found = [f"no rows of {who}" for table, who in OBSERVERS.items() if not sizes[table]]
    ids = case.one("SELECT count(DISTINCT id) FROM client")
    if not ids == sizes["client"] == sizes["requests"]:
        found.append(
            f"{sizes['client']} client rows with {ids} ids became {sizes['requests']} requests"
        )
    if strays := case.one(_NO_OUTCOME):
        found.append(f"{strays} requests have no outcome")
    entered = case.column("SELECT target FROM events WHERE kind = 'phase'")
    wanted = ["baseline", *(["faults"] if case.planned else []), "recovery", "end"]
    found += [f"the phase {name} was not reached" for name in wanted if name not in entered]
    return problems(f"{sizes['requests']} requests", found, "complete")


_NO_OUTCOME = """
    SELECT count(*) FROM requests
    WHERE coalesce(outcome, '') NOT IN ('answered', 'failed', 'indeterminate', 'not_sent')
"""


def clocks_agree(case: Case) -> Finding:
    """Nothing was begun before it was sent, nor logged long after it was answered.

    Of several hosts, each clock is known to within HOST_CLOCK_S (27-clocks.sql says how).
    """
    ids = case.column(_IMPOSSIBLE_TIMES, service=SERVICE_CLOCK_S, proxy=PROXY_CLOCK_S)
    figure = f"{len(ids)} requests at impossible times"
    found = [figure] if ids else []
    found += case.column(_UNKNOWN_CLOCKS, most=HOST_CLOCK_S)
    if (known := case.one(_KNOWN_TO)) is not None:
        figure += f", hosts' clocks known to {1000 * known:.1f} ms"
    return problems(figure, found, "none", ids)


_KNOWN_TO = "SELECT max(most_s - least_s) FROM clocks"

_UNKNOWN_CLOCKS = """
    SELECT CASE
        WHEN least_s > most_s
        THEN format('the {} clock of {} was changed during the run', clock, host)
        ELSE format('the {} clock of {} is not known to within {} s', clock, host, $most)
    END
    FROM clocks WHERE least_s > most_s OR coalesce(most_s - least_s > $most, true)
"""


_IMPOSSIBLE_TIMES = """
    SELECT DISTINCT id FROM (
        SELECT client.id FROM executions JOIN client ON client.id = executions.root
        WHERE executions.began < client.sent - $service
        UNION ALL
        SELECT client.id FROM proxy JOIN client ON client.id = proxy.root
        WHERE proxy.began_at < client.sent - $proxy
        UNION ALL
        SELECT client.id FROM proxy JOIN client ON client.id = proxy.id
        WHERE client.status > 0 AND proxy.ended_at > client.done + $proxy
    )
    ORDER BY id
"""


def observers_agree(case: Case) -> Finding:
    """A whole answer names its maker, and is to the client what it is to the proxy."""
    return offenders(case.column(_DISAGREED), "answers that client and proxy tell differently")


_DISAGREED = """
    SELECT client.id FROM client LEFT JOIN proxy ON proxy.id = client.id
    WHERE client.status > 0 AND (
        client.instance = ''
        OR proxy.status <> client.status
        OR proxy.instance <> client.instance
    )
    ORDER BY client.planned
"""


def foreign(case: Case) -> Finding:
    """Nobody but the load used the stack."""
    return offenders(case.column(_FOREIGN, probe=PROBE), "requests of somebody else")


_FOREIGN = """
    SELECT DISTINCT root FROM (
        SELECT root FROM proxy
        UNION ALL SELECT root FROM executions
        UNION ALL SELECT root FROM effects
    )
    WHERE root <> $probe AND root NOT IN (SELECT id FROM client)
    ORDER BY root
"""

RULES: tuple[Rule, ...] = (run_complete, clocks_agree, observers_agree, foreign)
