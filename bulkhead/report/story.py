"""The story of a request: every moment of it that any observer wrote down, in sentences."""

from collections.abc import Mapping, Sequence
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
    """One thing that one observer saw.

    `at` is in seconds after the planned start, below 0 when it was before; `until` is when it
    ended, if it lasted. `sub` is the id of the request that a service made on this one's behalf.
    """

    at: float
    observer: Observer
    who: str
    text: str
    tone: Tone
    until: float | None
    sub: str


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

    Raises:
        EvidenceError: the run has no request of that id.
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
    told = _Told(row, seen)
    told.by_client()
    told.by_proxy()
    told.by_services()
    told.by_ledger()
    told.of_injections()
    told.of_watch()
    return tuple(sorted(told.moments, key=lambda m: (round(m.at, 6), ORDER.index(m.observer))))


class _Told:
    """What has been told of the request `row`; moments count from its planned start."""

    def __init__(self, row: Row, seen: Seen) -> None:
        self.row, self.seen = row, seen
        self.zero = row["planned"]
        tried = (*seen["executions"], *seen["attempts"])
        self.involved = PARTS | {one["instance"] for one in tried}
        self.moments: list[Moment] = []

    def tell(
        self,
        at: float,
        observer: Observer,
        text: str,
        tone: Tone = "",
        until: float | None = None,
        who: str = "",
        id: str = "",
    ) -> None:
        """Add a moment; `id` is the request that it is about, `who` a name of the observer."""
        sub = id if id != self.row["id"] else ""
        self.moments.append(Moment(at, observer, who or observer, text, tone, until, sub))

    def by_client(self) -> None:
        row = self.row
        self.tell(0.0, "client", f"plans {row['method']} {row['target']}")
        if row["sent"]:
            self.tell(row["sent"] - self.zero, "client", "sends it")
        whole = f"has a whole answer: {row['status']}"
        got = whole if row["status"] else f"gives up: {row['error']}"
        by = f" from {row['instance']}" if row["instance"] else ""
        odd = f"; wrong: {row['wrong']}" if row["wrong"] else ""
        why = ": ".join(filter(None, (row["outcome"], row["cause"])))
        tone = TONES.get(row["outcome"], "unsure")
        self.tell(row["done"] - self.zero, "client", f"{got}{by}{odd} ({why})", tone)

    def by_proxy(self) -> None:
        for row in self.seen["proxy"]:
            id, at, waited = row["id"], row["began_at"] - self.zero, row["queued"]
            sub = f"for {id}: {row['method']} {row['target']}, " if id != self.row["id"] else ""
            waits = f" ({ms(waited)} of them waiting for an instance)" if waited else ""
            gave_up = f" by itself: {GAVE_UP[row['gave_up']]}" if row["gave_up"] else ""
            cut = "" if row["complete"] == "OK" else ", and the client did not get all of it"
            said = f"has it for {ms(row['took'])} ms{waits}, answers {row['status']}{gave_up}{cut}"
            self.tell(at, "proxy", sub + said, until=row["ended_at"] - self.zero, id=id)
            tries = [one for one in self.seen["attempts"] if one["proxy_id"] == row["proxy_id"]]
            for one in sorted(tries, key=lambda one: int(one["n"])):
                status, ended = one["status"], at + (one["response_s"] or 0.0)
                tone: Tone = "unsure" if status is None else "bad" if status >= 500 else ""
                self.tell(at, "proxy", _attempt(one), tone, ended, id=id)
                at = ended

    def by_services(self) -> None:
        for row in self.seen["executions"]:
            id, who, ended = row["id"], row["instance"], row["ended"]
            key = f", key {row['key']}" if row["key"] else ""
            said = f"{row['method']} {row['target']} (pid {row['pid']}, boot {row['boot']}{key})"
            began = row["began"] - self.zero
            if ended is None:
                said = f"begins {said}; it never ended"
                self.tell(began, "service", said, "bad", who=who, id=id)
                continue
            until = ended - self.zero
            self.tell(began, "service", f"begins {said}", until=until, who=who, id=id)
            fault = f", told to by fault {row['fault']}" if row["fault"] else ""
            said = f"ends with {row['status']}, effect {row['effect'] or 'none'}{fault}"
            tone: Tone = "bad" if (row["status"] or 0) >= 500 else ""
            self.tell(until, "service", said, tone, who=who, id=id)

    def by_ledger(self) -> None:
        for row in self.seen["effects"]:
            what = f"{row['op']} of {row['entry_id']}, version {row['version']}"
            said = f"commits effect {row['seq']}: {what}, for {row['instance']}"
            self.tell(row["applied_at"] - self.zero, "ledger", said, id=row["request_id"])

    def of_injections(self) -> None:
        """The faults that touched an instance, or the proxy, while it had to do with this."""
        for one in self.seen["injections"]:
            until = one["healed"] or one["heal"] or one["confirmed"] or one["began"]
            overlaps = one["began"] <= self.row["done"] and until >= self.zero
            hit = self.involved & set(one["target"].replace(",", " ").split())
            if overlaps and hit and not one["skipped"]:
                said = f"{one['fault']} of {one['target']} (injection {one['n']})"
                self.tell(one["began"] - self.zero, "fault", said, "unsure", until - self.zero)

    def of_watch(self) -> None:
        """The watchdog's events, during the request, about the programs that it passed through."""
        for one in self.seen["watch"]:
            if self.zero <= one["t"] <= self.row["done"] and one["target"] in self.involved:
                said = f": {one['detail']}" if one["detail"] else ""
                text = f"{one['kind']} {one['target']}{said}"
                self.tell(one["t"] - self.zero, "watch", text, "unsure", who="watchdog")


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
