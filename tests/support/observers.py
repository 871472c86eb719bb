"""One row of one observer, by hand: whatever a test does not name has a good value.

Times are monotonic seconds and begin at 100; the wall clock is OFFSET ahead.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bulkhead.records import (
    ClientRow,
    EffectRow,
    EntryRow,
    Event,
    Found,
    ProxyRow,
    ServiceRow,
    WatchRow,
)

OFFSET = 1_790_000_000.0
Change = dict[str, Any]

SERVICES = {"api": (4, 8101, "/api/"), "web": (2, 8201, "/")}

# What nginx logs of a failed attempt: status, connect, header; "t" is the attempt's own time.
HOWS = {
    "refused": ("502", "-", "-"),
    "died": ("502", "0.000", "-"),
    "connect_timeout": ("504", "-", "-"),
    "timeout": ("504", "0.000", "-"),
    "busy": ("503", "0.000", "t"),
    "left": ("-", "0.000", "-"),  # the client left first
}


@dataclass(frozen=True)
class Failed:
    """An attempt that failed, before another one."""

    instance: str
    how: Literal["refused", "died", "connect_timeout", "timeout", "busy", "left"] = "refused"
    seconds: float = 0.001


def address(instance: str) -> str:
    """Where an instance listens; anything else (an upstream's name) stands for itself.

    `api-1.app-2` is on the second of several hosts.
    """
    name, _, host = instance.partition(".")
    service, _, number = name.rpartition("-")
    ip = f"10.0.0.{host.removeprefix('app-')}" if host else "127.0.0.1"
    return f"{ip}:{SERVICES[service][1] + int(number) - 1}" if service else instance


def boot(instance: str) -> str:
    """The boot of an instance that never restarts."""
    return f"{pid(instance)}.77"


def pid(instance: str) -> int:
    """The process id of an instance that never restarts."""
    return int(address(instance).rpartition(":")[2])


def attempts(tries: Iterable[Failed]) -> dict[str, str]:
    """nginx's five lists of these failed attempts, and of no other, as changes of a proxy row."""
    lists: dict[str, list[str]] = {
        name: [] for name in ("addrs", "statuses", "connect", "header", "response")
    }
    for one in tries:
        status, connect, header = HOWS[one.how]
        time = f"{one.seconds:.3f}"
        parts = (address(one.instance), status, connect, time if header == "t" else header, time)
        for each, part in zip(lists.values(), parts, strict=True):
            each.append(part)
    return {name: ", ".join(each) for name, each in lists.items()}


class Observers:
    """The rows of all observers. Every list may be looked at and changed."""

    def __init__(self) -> None:
        self.clients: list[ClientRow] = []
        self.proxies: list[ProxyRow] = []
        self.services: list[ServiceRow] = []
        self.events: list[Event] = []
        self.watches: list[WatchRow] = []
        self.effects: list[EffectRow] = []
        self.entries: dict[str, EntryRow] = {}
        self._numbers: Counter[str] = Counter()

    def used(self, effects: int) -> None:
        """The ledger has had so many effects before the run."""
        self._numbers["effects"] = effects

    def client(self, id: str, **changes: Any) -> ClientRow:
        """A GET that api-1 answered with 200 within 10 ms."""
        values: dict[str, Any] = {
            "id": id,
            "name": "GET /api/v1/entries/{id}",
            "method": "GET",
            "target": "/api/v1/entries/entry-1",
            "planned": 103.0,
            "sent": 103.0,
            "done": 103.010,
            "status": 200,
            "instance": "api-1",
            "boot": boot("api-1"),
            "bytes": 100,
            "found": [Found("entry-1", 1, 1)],
        } | changes
        row = ClientRow(**values)
        self.clients.append(row)
        return row

    def proxy(self, id: str, **changes: Any) -> ProxyRow:
        """The same GET as nginx saw it: one attempt, at api-1."""
        values: dict[str, Any] = {
            "id": id,
            "proxy_id": f"proxy-of-{id}",
            "ended": OFFSET + 103.009,
            "took": 0.008,
            "method": "GET",
            "target": "/api/v1/entries/entry-1",
            "status": 200,
            "bytes": 100,
            "complete": "OK",
            "request_class": "retryable",
            "key": "",
            "client": "127.0.0.1",
            "worker": 71,
            "connection": 1,
            "addrs": address("api-1"),
            "statuses": "200",
            "connect": "0.000",
            "header": "0.007",
            "response": "0.007",
            "instance": "api-1",
            "boot": boot("api-1"),
        } | changes
        row = ProxyRow(**values)
        self.proxies.append(row)
        return row

    def begin(self, id: str, **changes: Any) -> ServiceRow:
        """An instance begins to execute a request."""
        return self._service("begin", id, {"t": 103.002, "method": "GET"} | changes)

    def end(self, begun: ServiceRow, **changes: Any) -> ServiceRow:
        """The same execution ends."""
        same = {name: getattr(begun, name) for name in ("n", "instance", "pid", "boot")}
        values = {"t": 103.008, "status": 200, "effect": "none"} | same | changes
        return self._service("end", begun.id, values)

    def dropped(self, instance: str, **changes: Any) -> ServiceRow:
        """What an instance says when it can write again: `n` rows are missing."""
        return self._service("dropped", "", {"instance": instance} | changes)

    def effect(self, id: str, **changes: Any) -> EffectRow:
        """The ledger applies a create of `id`, with a key."""
        values: dict[str, Any] = {
            "seq": self._next("effects"),
            "request_id": id,
            "key": f"key-{id}",
            "op": "create",
            "entry_id": f"entry-{id}",
            "version": 1,
            "instance": "api-1",
            "boot": boot("api-1"),
            "at": OFFSET + 103.005,
            "amount": 1,
        } | changes
        row = EffectRow(**values)
        self.effects.append(row)
        return row

    def entry(
        self, id: str, version: int = 1, deleted: bool = False, amount: int | None = 1
    ) -> EntryRow:
        """The ledger holds an entry, in the end."""
        self.entries[id] = EntryRow(id, version, deleted, None if deleted else amount)
        return self.entries[id]

    def event(self, t: float, kind: str, **changes: Any) -> Event:
        """Something happens."""
        row = msgspec.convert({"t": t, "kind": kind} | changes, Event)
        self.events.append(row)
        return row

    def watch(self, t: float, kind: str, target: str = "", detail: str = "") -> WatchRow:
        """The watchdog sees or does something."""
        values = {"t": t, "kind": kind, "target": target, "detail": detail}
        self.watches.append(msgspec.convert(values, WatchRow))
        return self.watches[-1]

    def _service(self, kind: str, id: str, changes: Change) -> ServiceRow:
        instance = changes.get("instance", "api-1")
        who = {"instance": instance, "pid": pid(instance), "boot": boot(instance)}
        values = {"kind": kind, "id": id, "target": "/api/v1/entries/entry-1"} | who | dict(changes)
        if "n" not in values:
            values["n"] = self._next(values["boot"])
        row = ServiceRow(**values)
        self.services.append(row)
        return row

    def _next(self, what: str) -> int:
        self._numbers[what] += 1
        return self._numbers[what]
