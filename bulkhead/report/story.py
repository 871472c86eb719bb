"""The story of a request: every moment of it that any observer wrote down, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from duckdb import DuckDBPyConnection

from bulkhead.errors import EvidenceError
from bulkhead.judge.case import Row, records
from bulkhead.report.columns import BOLD, DIM, GREEN, RED, YELLOW, ms, offset, paint, plain, table
from bulkhead.report.timeline import began

# In causal order: that of events of the same instant.
Observer = Literal["fault", "watch", "client", "proxy", "service", "ledger"]
ORDER = get_args(Observer)
Tone = Literal["", "good", "bad", "unsure"]
TONES: dict[str, Tone] = {"answered": "good", "failed": "bad"}
# By table: the rows of one root id, a request's and its sub-requests'; and what else happened.
Seen = Mapping[str, Sequence[Row]]
TABLES = ("proxy", "attempts", "executions", "effects")

GAVE_UP = {
    "down_queue_full": "no instance is alive, and no more may wait",
    "down_queue_timeout": "no instance came back in time",
    "busy_queue_full": "every instance has all it takes, and no more may wait",
    "busy_queue_timeout": "no instance had room in time",
    "retry_budget": "the budget of retries is spent",
    "poison": "several processes died or hung with it",
}
# Programs that every request passes through.
PARTS = {"proxy", "nginx", "supervisord", "watch", "everything"}
PAINTS = {"": 0, "good": GREEN, "bad": RED, "unsure": YELLOW}


@dataclass(frozen=True)
class Moment:
    """One thing that one observer (`who`) saw.

    `at` is in seconds after the planned start, below 0 when it was before; `until` is when it
    ended, if it lasted. `sub` is whether it is about what a service asked for on this one's behalf.
    """

    at: float
    observer: Observer
    who: str
    text: str
    tone: Tone = ""
    until: float | None = None
    sub: bool = False


@dataclass(frozen=True)
class Story:
    """One request: its row of the account's table `requests`, and what was seen of it."""

    row: Row
    zero: float  # seconds from the start of the run to its planned start
    moments: tuple[Moment, ...]

    @property
    def tone(self) -> Tone:
        """How it ended, as a colour."""
        return "unsure" if self.row["delay_cause"] else TONES.get(self.row["outcome"], "unsure")

    @property
    def ending(self) -> str:
        """How it ended, in words: the outcome, and its cause or what made it slow."""
        row = self.row
        slow = f"slow, {row['delay_cause']}" if row["delay_cause"] else ""
        return ": ".join(filter(None, (row["outcome"], row["cause"] or slow)))

    @property
    def took(self) -> float:
        """Seconds from the planned start until its client had the answer, or gave up."""
        return float(self.row["done"] - self.row["planned"])

    @property
    def ended(self) -> float:
        """The last moment that is its own, in seconds after the planned start."""
        own = (moment for moment in self.moments if moment.observer not in ("fault", "watch"))
        return max((moment.until or moment.at for moment in own), default=0.0)


def stories(account: DuckDBPyConnection, ids: Sequence[str]) -> dict[str, Story]:
    """The stories of those of `ids` that are requests of the run, by id."""
    wanted = {"ids": list(ids)}
    around = {
        "injections": records(account, "SELECT * FROM injections ORDER BY began"),
        "watch": records(account, "SELECT * FROM watch ORDER BY t"),
    }
    seen = {id: around | {name: [] for name in TABLES} for id in ids}
    for name in TABLES:
        query = f"SELECT * FROM {name} WHERE list_contains($ids, root)"
        for row in records(account, query, wanted):
            seen[row["root"]][name].append(row)
    requests = records(account, "SELECT * FROM requests WHERE list_contains($ids, id)", wanted)
    start = began(account)
    return {
        row["id"]: Story(row, row["planned"] - start, _moments(row, seen[row["id"]]))
        for row in requests
    }


def text(account: DuckDBPyConnection, request_id: str, colour: bool = False) -> str:
    """One story for a terminal, a line break at its end.

    EvidenceError if the run has no request of that id.
    """
    # No id has other characters, and the database takes nothing that is not text.
    found = stories(account, [request_id]) if plain(request_id) == request_id else {}
    if not found:
        raise EvidenceError(f"request {plain(request_id)}: no request of this run has that id")
    story = found[request_id]
    row = story.row
    key = ", with a key" if row["keyed"] else ""
    ending = plain(": ".join(filter(None, (story.ending, row["detail"]))))
    lines = [
        paint(plain(f"{row['method']} {row['target']}"), BOLD, colour) + f"   {plain(row['id'])}",
        f"class {row['class']}{key}; planned {story.zero:.3f} s into the run, in {row['phase']}",
        paint(ending, PAINTS[story.tone], colour),
        "",
    ]
    cells = [
        (offset(moment.at) + " ms", moment.who, ("  " if moment.sub else "") + plain(moment.text))
        for moment in story.moments
    ]
    for moment, line in zip(story.moments, table(cells, left=(1, 2)), strict=True):
        tint = PAINTS[moment.tone] or (DIM if moment.sub else 0)
        lines.append("  " + paint(line, tint, colour))
    return "\n".join(lines) + "\n"


def _moments(row: Row, seen: Seen) -> tuple[Moment, ...]:
    """All moments of the request `row`, in order of time."""
    moments = [
        *_by_client(row),
        *_by_proxy(row, seen),
        *_by_services(row, seen["executions"]),
        *_by_ledger(row, seen["effects"]),
        *_around(row, seen),
    ]
    return tuple(sorted(moments, key=lambda m: (round(m.at, 6), ORDER.index(m.observer))))


def _by_client(row: Row) -> Iterator[Moment]:
    yield Moment(0.0, "client", "client", f"plans {row['method']} {row['target']}")
    if row["sent"]:
        yield Moment(row["sent"] - row["planned"], "client", "client", "sends it")
    whole = f"has a whole answer: {row['status']}"
    got = whole if row["status"] else f"gives up: {row['error']}"
    by = f" from {row['instance']}" if row["instance"] else ""
    odd = f"; wrong: {row['wrong']}" if row["wrong"] else ""
    why = ": ".join(filter(None, (row["outcome"], row["cause"])))
    tone = TONES.get(row["outcome"], "unsure")
    said = f"{got}{by}{odd} ({why})"
    yield Moment(row["done"] - row["planned"], "client", "client", said, tone)


def _by_proxy(row: Row, seen: Seen) -> Iterator[Moment]:
    for one in seen["proxy"]:
        at, waited, sub = one["began_at"] - row["planned"], one["queued"], one["id"] != row["id"]
        what = f"for {one['id']}: {one['method']} {one['target']}, " if sub else ""
        waits = f" ({ms(waited)} of them waiting for an instance)" if waited else ""
        gave_up = f" by itself: {GAVE_UP[one['gave_up']]}" if one["gave_up"] else ""
        cut = "" if one["complete"] == "OK" else ", and the client did not get all of it"
        said = f"has it for {ms(one['took'])} ms{waits}, answers {one['status']}{gave_up}{cut}"
        until = one["ended_at"] - row["planned"]
        yield Moment(at, "proxy", "proxy", what + said, until=until, sub=sub)
        tries = [each for each in seen["attempts"] if each["proxy_id"] == one["proxy_id"]]
        for each in sorted(tries, key=lambda each: int(each["n"])):
            status, until = each["status"], at + (each["response_s"] or 0.0)
            tone: Tone = "unsure" if status is None else "bad" if status >= 500 else ""
            yield Moment(at, "proxy", "proxy", _attempt(each), tone, until, sub)
            at = until


def _by_services(row: Row, executions: Sequence[Row]) -> Iterator[Moment]:
    for one in executions:
        who, start, sub = one["instance"], one["began"] - row["planned"], one["id"] != row["id"]
        key = f", key {one['key']}" if one["key"] else ""
        said = f"{one['method']} {one['target']} (pid {one['pid']}, boot {one['boot']}{key})"
        if one["ended"] is None:
            said = f"begins {said}; it never ended"
            yield Moment(start, "service", who, said, "bad", sub=sub)
            continue
        until = one["ended"] - row["planned"]
        yield Moment(start, "service", who, f"begins {said}", until=until, sub=sub)
        fault = f", told to by fault {one['fault']}" if one["fault"] else ""
        said = f"ends with {one['status']}, effect {one['effect'] or 'none'}{fault}"
        yield Moment(
            until, "service", who, said, "bad" if (one["status"] or 0) >= 500 else "", sub=sub
        )


def _by_ledger(row: Row, effects: Sequence[Row]) -> Iterator[Moment]:
    for one in effects:
        at, sub = one["applied_at"] - row["planned"], one["request_id"] != row["id"]
        what = f"{one['op']} of {one['entry_id']}, version {one['version']}"
        said = f"commits effect {one['seq']}: {what}, for {one['instance']}"
        yield Moment(at, "ledger", "ledger", said, sub=sub)


def _around(row: Row, seen: Seen) -> Iterator[Moment]:
    """The faults and the watchdog's events during the request, about what it passed through."""
    zero, done = row["planned"], row["done"]
    involved = PARTS | {one["instance"] for one in (*seen["executions"], *seen["attempts"])}
    for one in seen["injections"]:
        until = one["healed"] or one["heal"] or one["confirmed"] or one["began"]
        overlaps = one["began"] <= done and until >= zero and not one["skipped"]
        if overlaps and involved & set(one["target"].replace(",", " ").split()):
            said = f"{one['fault']} of {one['target']} (injection {one['n']})"
            yield Moment(one["began"] - zero, "fault", "fault", said, "unsure", until - zero)
    for one in seen["watch"]:
        if zero <= one["t"] <= done and one["target"] in involved:
            detail = f": {one['detail']}" if one["detail"] else ""
            said = f"{one['kind']} {one['target']}{detail}"
            yield Moment(one["t"] - zero, "watch", "watchdog", said, "unsure")


def _attempt(one: Row) -> str:
    """An attempt of the proxy, in words."""
    if not one["instance"]:
        times = "no instance was left to try"
    elif one["connect_s"] is None:
        times = f"no connection after {ms(one['response_s'])} ms"
    elif one["header_s"] is None:
        connected, ended = ms(one["connect_s"]), ms(one["response_s"])
        times = f"connected after {connected}, no answer until {ended} ms"
    else:
        parts = (one["connect_s"], one["header_s"], one["response_s"])
        times = "connected {}, header {}, whole {} ms".format(*map(ms, parts))
    where = f"{one['instance']} at {one['address']}" if one["instance"] else one["address"] or "-"
    status = "left" if one["status"] is None else one["status"]
    return f"attempt {one['n']}: {where}: {status}, {times}"
