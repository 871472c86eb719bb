"""A drill's bounds: figures of its run held against what the drill expects of them.

A figure above an upper bound breaks a promise: FAIL. One below a lower bound (`_min`) shows that
the faults did not reach the load, so the run proves nothing: INVALID. So is a figure not known.

Latencies count from the planned time. Where the load did not keep its schedule, one that is above
its bound may be the generator's doing and proves nothing against the stack: INVALID too. Not so
`settle_s`, which counts from a fault's end to a failure's: being late makes no request fail.
"""

from collections.abc import Iterator

from bulkhead.judge.case import EXAMPLES, UNKNOWN, Case
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import ITS_OWN, LATENCIES, RATIOS, Figures, beyond
from bulkhead.judge.verdict import Check

# Bounds on what counts from the planned time.
FROM_PLANNED = frozenset({*LATENCIES, *RATIOS, "delayed", "goodput_s"})
_WORDS = {name: field.description or "" for name, field in Expect.model_fields.items()}
LOWER = {name: words for name, words in _WORDS.items() if words and name.endswith("_min")}
UPPER = {name: words for name, words in _WORDS.items() if words and name not in LOWER}


def bounds(case: Case, figures: Figures, on_schedule: bool) -> Iterator[Check]:
    """A check for every bound that the drill has; `on_schedule`: schedule_kept passed."""
    for name, words in {**UPPER, **LOWER}.items():
        if (bound := getattr(case.expect, name)) is not None:
            figure = figures.get(name.removesuffix("_min"))
            yield _bound(case, name, words, figure, bound, on_schedule)
    if case.expect.causes is not None:
        yield _causes(case, case.expect.causes)
    for error, most in (case.expect.errors or {}).items():
        yield _errors(case, error, most)
    for instance, (low, high) in (case.expect.share or {}).items():
        yield _share(case, instance, low, high)


def _bound(
    case: Case, name: str, words: str, figure: float | None, bound: float, on_schedule: bool
) -> Check:
    lower = name in LOWER
    said = f"{'at least' if lower else 'at most'} {_number(bound)}"
    if figure is None:
        return _not_known(name, words, said)
    if figure >= bound if lower else figure <= bound:
        return Check(name, "PASS", _number(figure), said)
    message = f"{words}: {_number(figure)}, and {said} is "
    if lower:
        message += "needed for the run to show anything"
        return Check(name, "INVALID", _number(figure), said, message, 1)
    message += "promised"
    # A latency beyond its bound may be the generator's doing, by sending late.
    proved = on_schedule or name not in FROM_PLANNED
    if not proved:
        message += ", but it counts from the planned time, and the load did not keep its schedule"
    ids = _requests(case, beyond(name) or "false", bound=bound)
    given = (_number(figure), said, message, len(ids) or 1, tuple(ids[:EXAMPLES]))
    return Check(name, "FAIL" if proved else "INVALID", *given)


def _causes(case: Case, allowed: list[str]) -> Check:
    """Requests that were not answered have none but these causes."""
    said = ", ".join(allowed) or "no cause"
    if unheard := sorted(set(allowed) - set(case.column("SELECT name FROM causes"))):
        message = f"there is no cause {', '.join(unheard)}"
        return Check("causes", "INVALID", UNKNOWN, said, message, len(unheard))
    other = (
        f"outcome <> 'answered' AND cause NOT IN {ITS_OWN} AND NOT list_contains($allowed, cause)"
    )
    rows = case.rows(
        f"SELECT id, cause FROM requests WHERE {other} ORDER BY planned", allowed=allowed
    )
    if not rows:
        return Check("causes", "PASS", "no other cause", said)
    ids, found = [id for id, _ in rows], ", ".join(sorted({cause for _, cause in rows}))
    message = f"{len(ids)} requests were not answered for other causes: {found}"
    return Check("causes", "FAIL", found, said, message, len(ids), tuple(ids[:EXAMPLES]))


def _errors(case: Case, error: str, most: int) -> Check:
    """So many requests at most ended for the client with an error of this class."""
    name, said = f"errors {error}", f"at most {most}"
    ids = _requests(case, "error = $error", error=error)
    if len(ids) <= most:
        return Check(name, "PASS", str(len(ids)), said)
    message = f"{len(ids)} requests ended with the client's error {error}, and {said} is promised"
    return Check(name, "FAIL", str(len(ids)), said, message, len(ids), tuple(ids[:EXAMPLES]))


def _share(case: Case, instance: str, low: float, high: float) -> Check:
    """An instance's part of the whole answers that its service made during the faults."""
    name, said = f"share {instance}", f"{_number(low)} to {_number(high)}"
    words = f"share of {instance} in the answers of its service during the faults"
    if not case.rows("FROM instances WHERE configured AND name = $instance", instance=instance):
        message = f"there is no instance {instance}"
        return Check(name, "INVALID", UNKNOWN, said, message, 1)
    share = case.one(_SHARE, instance=instance, service=instance.rpartition("-")[0])
    if share is None:
        return _not_known(name, words, said)
    if low <= share <= high:
        return Check(name, "PASS", _number(share), said)
    message = f"{words}: {_number(share)}, and {said} is promised"
    return Check(name, "FAIL", _number(share), said, message, 1)


_SHARE = """
    SELECT round(count(*) FILTER (instance = $instance) / nullif(count(*), 0), 4)
    FROM requests
    WHERE phase = 'faults' AND status > 0
        AND regexp_replace(instance, '-[0-9]+([.].*)?$', '') = $service
"""


def _requests(case: Case, where: str, **values: object) -> list[str]:
    return case.column(f"SELECT id FROM requests WHERE {where} ORDER BY planned", **values)


def _not_known(name: str, words: str, said: str) -> Check:
    return Check(name, "INVALID", UNKNOWN, said, f"{words}: the run cannot tell", 1)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
