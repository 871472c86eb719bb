"""Client rows to figures: what the users of a stack got. Pure.

A request that was not answered well counts as one whose answer never came: so a proxy does not look
quick because it is quick to give up. `None` as a time means never.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bulkhead.records import ClientRow


@dataclass(frozen=True)
class Figures:
    """Of the requests planned in a span of time.

    `kinds` counts the failed ones by what the client saw: a kind of error, or a status. `p50_ms`
    to `p999_ms` are the times within which that share of all requests was answered well, from
    the planned moment. `worst_ms` is the longest that a good answer took, `rate` the good answers
    per second of the span, `late_ms` what the load itself was behind its schedule (p99).
    """

    sent: int
    failed: int
    kinds: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    worst_ms: float | None
    rate: float
    late_ms: float


def figures(rows: Iterable[ClientRow], spans: Sequence[tuple[float, float]]) -> Figures:
    """What became of the requests planned in any of `spans`, each begin (included) and end."""
    chosen = [row for row in rows if any(begin <= row.planned < end for begin, end in spans)]
    times, kinds = [], Counter[str]()
    for row in chosen:
        if failure := _failure(row):
            kinds[failure] += 1
            times.append(math.inf)
        else:
            times.append(row.done - row.planned)
    times.sort()
    good = len(chosen) - kinds.total()
    late = sorted(row.sent - row.planned for row in chosen if row.sent)
    return Figures(
        sent=len(chosen),
        failed=kinds.total(),
        kinds=dict(kinds.most_common()),
        p50_ms=_ms(quantile(times, 0.5)),
        p99_ms=_ms(quantile(times, 0.99)),
        p999_ms=_ms(quantile(times, 0.999)),
        worst_ms=_ms(times[good - 1]) if good else None,
        rate=good / sum(end - begin for begin, end in spans),
        late_ms=1000 * quantile(late, 0.99),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed; never, of none."""
    if not ordered:
        return math.inf
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _failure(row: ClientRow) -> str:
    """Why a request did not succeed, in a word; "" if it did."""
    if row.error:
        return row.error
    if row.wrong:
        return str(row.status) if row.status >= 400 else "wrong answer"
    return ""


def _ms(seconds: float) -> float | None:
    return None if math.isinf(seconds) else 1000 * seconds
