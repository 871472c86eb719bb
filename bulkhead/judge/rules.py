"""The rules that every run is judged by, whatever its drill is: `sql/` has most of them.

Is the evidence whole, and is it of one piece? Where not, a run is INVALID. The promises are those
that every drill makes, and that only the stack can break: each is a FAIL.
"""

from dataclasses import replace

from bulkhead.judge.case import Case, Rules, problems, read
from bulkhead.judge.verdict import Check

_AGREE, _QUERIES = read("evidence")
_COMPLETE, _WATCHED = read("completeness")
QUESTIONS, _UNLOGGED = read("promises")

# The observers, and their tables in the account.
OBSERVERS = {
    "client": "the client",
    "proxy": "the proxy",
    "executions": "the services",
    "states": "the instances' states",
}


def not_empty(case: Case) -> Check:
    """There is a request. Without one nothing else is judged: no rule would be about anything."""
    requests = case.one("SELECT count(*) FROM requests")
    said = "a run without requests shows nothing"
    return problems(f"{requests} requests", [] if requests else [said], "at least 1")


def run_complete(case: Case) -> Check:
    """Every observer has rows, every request has an outcome, and the run reached its end."""
    sizes = {table: case.one(f"SELECT count(*) FROM {table}") for table in (*OBSERVERS, "requests")}
    found = [f"no rows of {who}" for table, who in OBSERVERS.items() if not sizes[table]]
    ids = case.one("SELECT count(DISTINCT id) FROM client")
    if not ids == sizes["client"] == sizes["requests"]:
        found.append(
            f"{sizes['client']} client rows with {ids} ids became {sizes['requests']} requests"
        )
    if unknown := case.one(_QUERIES["no_outcome"]):
        found.append(f"{unknown} requests have no outcome")
    entered = case.column("SELECT target FROM events WHERE kind = 'phase'")
    wanted = ["warmup", "baseline", *(["faults"] if case.planned else []), "recovery", "end"]
    found += [f"the phase {name} was not reached" for name in wanted if name not in entered]
    if early := case.one(_QUERIES["too_early"]):
        found.append(f"{early} requests were planned before the first phase")
    return problems(f"{sizes['requests']} requests", found, "complete")


def rows_written(case: Case) -> Check:
    """No observer of the stack lost a row that it was to write: a full disk leaves no evidence."""
    lost = case.rows("SELECT observer, who, how, rows FROM lost_rows ORDER BY observer, who, how")
    found = [
        f"{rows} lines of {who} were cut short"
        if how == "cut"
        else f"{rows} {observer} rows of {who} could not be written"
        for observer, who, how, rows in lost
    ]
    return problems(f"{sum(rows for *_, rows in lost)} rows lost", found, "none")


def clocks_agree(case: Case) -> Check:
    """Nothing was begun before it was sent, nor logged long after it was answered.

    Of several hosts, each clock is known to within `host_clock` (27-clocks.sql says how).
    """
    ids = case.column(_QUERIES["impossible_times"])
    figure = f"{len(ids)} requests at impossible times"
    found = [figure] if ids else []
    found += case.column(_QUERIES["unknown_clocks"])
    if (known := case.one(_QUERIES["known_to"])) is not None:
        figure += f", hosts' clocks known to {1000 * known:.1f} ms"
    return problems(figure, found, "none", ids)


def states_known(case: Case) -> Check:
    """Every instance was watched, and nobody saw it live when it was seen dead, or die unseen."""
    found = _COMPLETE["states_known"].ids(case)
    if case.one(_WATCHED["watched_throughout"]):
        found |= _COMPLETE["states_watched"].ids(case)
    return _COMPLETE["states_known"].finding(found)


def accounted(case: Case) -> Check:
    """Answers, proxy rows and executions belong together; but for those that a death excuses."""
    rule, unlogged = QUESTIONS["accounted"], case.rows(_UNLOGGED["unlogged"])
    missing = [id for id, excused in unlogged if not excused]
    found = rule.finding({"whole answers without a proxy row": missing} | rule.ids(case))
    if len(missing) == len(unlogged):
        return found
    many = len(unlogged) - len(missing)
    said = f"{many} answered by nginx workers that were killed before they logged it"
    return replace(found, figure=f"{found.figure}, and {said}")


EVIDENCE: Rules = {
    "run_complete": run_complete,
    "rows_written": rows_written,
    "clocks_agree": clocks_agree,
    **_AGREE,
    "rows_whole": _COMPLETE["rows_whole"],
    "executions_known": _COMPLETE["executions_known"],
    "states_known": states_known,
    "values_known": _COMPLETE["values_known"],
}
# Writes that were applied without their client being told are a figure, not a promise.
NOTES: Rules = {"unacknowledged": QUESTIONS["unacknowledged"]}
PROMISES: Rules = {
    name: accounted if name == "accounted" else rule
    for name, rule in QUESTIONS.items()
    if name not in NOTES
}
