"""The moments of one request: what every observer wrote down of it, as sentences."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bulkhead.report.columns import ms

Observer = Literal["client", "fault", "watch", "proxy", "service", "ledger"]
Tone = Literal["", "good", "bad", "unsure"]
Row = dict[str, Any]

TONES: dict[str, Tone] = {"answered": "good", "failed": "bad"}
# What happens at the same instant is told in the order in which it can have come about.
ORDER: tuple[Observer, ...] = ("fault", "watch", "client", "proxy", "service", "ledger")

GAVE_UP = {
    "dead_full": "no instance is alive, and no more may wait",
    "dead_late": "no instance came back in time",
    "busy_full": "every instance has all it takes, and no more may wait",
    "busy_late": "no instance had room in time",
    "retry_budget": "the budget of retries is spent",
}
# What every request has to do with, whichever instance it went to.
PARTS = {"proxy", "nginx", "supervisord", "watch", "everything"}


@dataclass(frozen=True)
class Moment:
    """One thing that one observer saw."""

    at: float
    """Seconds after the planned start; below 0 when it was before."""
    observer: Observer
    who: str
    text: str
    tone: Tone = ""
    until: float | None = None
    """When it ended, if it lasted."""
    sub: str = ""
    """The id of the request that a service made on this one's behalf; '' for this one itself."""


@dataclass
class Seen:
    """The rows of one root id, by observer: the evidence of a request and of its sub-requests."""

    proxy: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    executions: list[Row] = field(default_factory=list)
    effects: list[Row] = field(default_factory=list)


def moments(
    row: Row, seen: Seen, injections: Sequence[Row], watch: Sequence[Row] = ()
) -> tuple[Moment, ...]:
    """All moments of the request `row`, in order of time."""
    zero, root = row["planned"], row["id"]
    found = [
        *_client(row),
        *_proxy(seen, zero, root),
        *_executions(seen.executions, zero, root),
        *_effects(seen.effects, zero, root),
        *_injections(row, seen, injections),
        *_watch(row, seen, watch),
    ]
    return tuple(sorted(found, key=lambda m: (round(m.at, 6), ORDER.index(m.observer))))


def _client(row: Row) -> Iterator[Moment]:
    zero = row["planned"]
    yield Moment(0.0, "client", "client", f"plans {row['method']} {row['target']}")
    if row["sent"]:
        yield Moment(row["sent"] - zero, "client", "client", "sends it")
    got = f"has a whole answer: {row['status']}" if row["status"] else f"gives up: {row['error']}"
    by = f" from {row['instance']}" if row["instance"] else ""
    odd = f"; wrong: {row['wrong']}" if row["wrong"] else ""
    why = ": ".join(filter(None, (row["outcome"], row["cause"])))
    tone = TONES.get(row["outcome"], "unsure")
    yield Moment(row["done"] - zero, "client", "client", f"{got}{by}{odd} ({why})", tone)


def _proxy(seen: Seen, zero: float, root: str) -> Iterator[Moment]:
    attempts: dict[str, list[Row]] = defaultdict(list)
    for one in seen.attempts:
        attempts[one["proxy_id"]].append(one)
    for row in seen.proxy:
        sub = row["id"] if row["id"] != root else ""
        for_whom = f"for {sub}: {row['method']} {row['target']}, " if sub else ""
        at = row["began_at"] - zero
        waits = f" ({ms(row['held'])} of them waiting for an instance)" if row["held"] else ""
        gave_up = f" by itself: {GAVE_UP[row['gave_up']]}" if row["gave_up"] else ""
        whole = "" if row["complete"] == "OK" else ", and the client did not get all of it"
        yield Moment(
            at,
            "proxy",
            "proxy",
            f"{for_whom}has it for {ms(row['took'])} ms{waits}, answers {row['status']}{gave_up}"
            f"{whole}",
            until=row["ended_at"] - zero,
            sub=sub,
        )
        for one in sorted(attempts[row["proxy_id"]], key=lambda one: int(one["n"])):
            yield _attempt(one, at, sub)
            at += one["response_s"] or 0.0


def _attempt(one: Row, at: float, sub: str) -> Moment:
    if not one["instance"]:
        times = "no instance was left to try"
    elif one["connect_s"] is None:
        times = f"no connection after {ms(one['response_s'])} ms"
    elif one["header_s"] is None:
        times = f"connected after {ms(one['connect_s'])}, no answer until {ms(one['response_s'])}"
        times += " ms"
    else:
        parts = (one["connect_s"], one["header_s"], one["response_s"])
        times = "connected {}, header {}, whole {} ms".format(*map(ms, parts))
    status = one["status"]
    where = f"{one['instance']} at {one['address']}" if one["instance"] else one["address"] or "-"
    return Moment(
        at,
        "proxy",
        "proxy",
        f"attempt {one['n']}: {where}: {'left' if status is None else status}, {times}",
        "unsure" if status is None else "bad" if status >= 500 else "",
        until=at + (one["response_s"] or 0.0),
        sub=sub,
    )


def _executions(rows: Sequence[Row], zero: float, root: str) -> Iterator[Moment]:
    for row in rows:
        sub = row["id"] if row["id"] != root else ""
        until = None if row["ended"] is None else row["ended"] - zero
        key = f", key {row['key']}" if row["key"] else ""
        where = f"pid {row['pid']}, boot {row['boot']}{key}"
        ended = "" if until is not None else "; it never ended"
        yield Moment(
            row["began"] - zero,
            "service",
            row["instance"],
            f"begins {row['method']} {row['target']} ({where}){ended}",
            "" if until is not None else "bad",
            until,
            sub,
        )
        if until is not None:
            fault = f", told to by fault {row['fault']}" if row["fault"] else ""
            said = f"ends with {row['status']}, effect {row['effect'] or 'none'}{fault}"
            tone: Tone = "bad" if (row["status"] or 0) >= 500 else ""
            yield Moment(until, "service", row["instance"], said, tone, sub=sub)


def _effects(rows: Sequence[Row], zero: float, root: str) -> Iterator[Moment]:
    for row in rows:
        sub = row["request_id"] if row["request_id"] != root else ""
        what = f"{row['op']} of {row['entry_id']}, version {row['version']}"
        said = f"commits effect {row['seq']}: {what}, for {row['instance']}"
        yield Moment(row["applied_at"] - zero, "ledger", "ledger", said, sub=sub)


def _injections(row: Row, seen: Seen, injections: Sequence[Row]) -> Iterator[Moment]:
    """The faults that touched an instance, or the proxy, while it had to do with this request."""
    involved = _involved(seen) | PARTS
    for one in injections:
        until = one["healed"] or one["heal"] or one["held"] or one["began"]
        overlaps = one["began"] <= row["done"] and until >= row["planned"]
        hit = involved & set(one["target"].replace(",", " ").split())
        if not overlaps or not hit or one["skipped"]:
            continue
        said = f"{one['fault']} of {one['target']} (injection {one['n']})"
        yield Moment(
            one["began"] - row["planned"],
            "fault",
            "fault",
            said,
            "unsure",
            until - row["planned"],
        )


def _watch(row: Row, seen: Seen, watch: Sequence[Row]) -> Iterator[Moment]:
    """What the watchdog did, while it was under way, about whoever had to do with this request."""
    involved = _involved(seen) | PARTS
    for one in watch:
        if row["planned"] <= one["t"] <= row["done"] and one["target"] in involved:
            said = f": {one['detail']}" if one["detail"] else ""
            text = f"{one['kind']} {one['target']}{said}"
            yield Moment(one["t"] - row["planned"], "watch", "watchdog", text, "unsure")


def _involved(seen: Seen) -> set[str]:
    return {one["instance"] for one in seen.executions + seen.attempts}
