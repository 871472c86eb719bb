"""A run folder that is written by hand: every observer's rows, good ones unless a test breaks them.

    run = MadeRun(tmp_path)
    run.phases()
    run.request("a-1")                                         # a GET that api-1 answered
    run.request("a-2", effect="create", proxy=None)            # a POST that the proxy did not log
    run.request("a-3", failed=[Failed("api-1", "refused")])    # a GET that was retried to api-2
    run.injection(1, "kill", "api-1", at=108.0)
    folder = run.write()

Times are monotonic seconds and begin at 100; the wall clock is OFFSET ahead.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from bulkhead.accounting import account
from bulkhead.records import ClientRow, EntryRow, Found, ServiceRow, encode
from bulkhead.rundir import FORMAT, RunDir
from tests.support.observers import (
    OFFSET,
    SERVICES,
    Change,
    Failed,
    Observers,
    address,
    attempts,
    boot,
    pid,
)

__all__ = ["OFFSET", "Ask", "Failed", "MadeRun", "address", "ask", "attempts", "boot"]

Ask = Literal["read", "create", "replace", "change", "delete"]
AS_IT_IS: Change = {}
OLDER = EntryRow("entry-1", 1, False, 1)  # than the run: what reads are about unless they say

METHODS = {"read": "GET", "create": "POST", "replace": "PUT", "change": "PATCH", "delete": "DELETE"}
STATUSES = {"read": 200, "create": 201, "replace": 200, "change": 200, "delete": 204}


class MadeRun(Observers):
    """A run folder. Every list of rows may be looked at and changed until `write`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.run = RunDir(path)
        self.drill: dict[str, Any] = drill()
        self.watched = True  # false: the stack has no watchdog, and so no file of its rows
        # True: executions are numbered as they began, and the watchdog saw each death and start.
        self.witnessed = False
        self.seen: list[tuple[str, str, str]] = []  # of several hosts: address, instance, service

    def request(
        self,
        id: str,
        at: float = 103.0,
        *,
        took: float = 0.010,
        instance: str = "api-1",
        effect: Ask = "read",
        key: str | None = None,
        entry: str = "",
        status: int = 0,
        failed: Iterable[Failed] = (),
        client: Change | None = AS_IT_IS,
        proxy: Change | None = AS_IT_IS,
        begin: Change | None = AS_IT_IS,
        end: Change | None = AS_IT_IS,
        applied: Change | None = AS_IT_IS,
        held: Change | None = AS_IT_IS,
    ) -> None:
        """One good request at `at`, as every observer saw it.

        A write has a key of its own unless `key` is "", and changes `entry` (its own when not
        given). `failed` are attempts before the good one; their seconds come on top of `took`.
        `client`, `proxy`, `begin`, `end`, `applied` (the ledger's effect) and `held` (the ledger's
        entry in the end) change fields of that one row; None leaves it out.
        """
        failed = list(failed)
        before = sum(one.seconds for one in failed)
        is_write = effect != "read"
        key = key if key is not None else f"key-{id}" if is_write else ""
        proxy_id = f"proxy-of-{id}"
        known_by = (key or f"proxy:{proxy_id}") if is_write else None
        entry = entry or (f"entry-{id}" if is_write else "entry-1")
        status = status or STATUSES[effect]
        place = "" if effect == "create" else "/"
        asked: Change = {
            "method": METHODS[effect],
            "target": "/api/v1/entries" + (place and place + entry),
        }
        was = self.entries.get(entry, OLDER)
        version = was.version + (entry in self.entries) if is_write else was.version
        amount = self._next("amounts") if effect in ("create", "replace", "change") else None
        shown = Found(entry, version, was.amount or 0 if amount is None else amount)
        who: Change = {"instance": instance, "boot": boot(instance)}
        answered: Change = {"status": status, "key": key}
        if client is not None:
            row: Change = {
                "name": f"{METHODS[effect]} /api/v1/entries" + (place and "/{id}"),
                "planned": at,
                "sent": at,
                "done": at + before + took,
                "effect": effect,
                "entry": entry if is_write else "",
                "amount": amount,
                "found": None if effect == "delete" or status >= 400 else [shown],
            }
            self.client(id, **row | asked | who | answered | client)
        if proxy is not None:
            once = effect in ("create", "change") and not key
            row = {
                "proxy_id": proxy_id,
                "ended": OFFSET + at + before + 0.9 * took,
                "took": before + 0.8 * took,
                "request_class": "non_retryable" if once else "retryable",
            }
            lists = _and_last(attempts(failed), address(instance), status, 0.7 * took)
            self.proxy(id, **row | asked | who | answered | lists | proxy)
        at += before
        if begin is not None:
            row = {"t": at + 0.2 * took, "key": known_by, "instance": instance}
            begun = self.begin(id, **row | asked | begin)
            if end is not None:
                done = "applied" if is_write and status < 300 and applied is not None else "none"
                self.end(begun, **{"t": at + 0.8 * took, "status": status, "effect": done} | end)
        if is_write and applied is not None:
            row = {"key": known_by, "op": effect, "entry_id": entry, "version": version}
            row |= {"amount": amount}
            self.effect(id, **row | who | {"at": OFFSET + at + 0.5 * took} | applied)
            if held is not None:
                row = {"id": entry, "version": version, "deleted": effect == "delete"}
                self.entry(**row | {"amount": amount} | held)

    def phases(
        self,
        warmup: float | None = 100.0,
        baseline: float | None = 102.0,
        faults: float | None = 107.0,
        recovery: float | None = 127.0,
        end: float | None = 133.0,
    ) -> None:
        """The phases begin at these times; None is a phase that never began."""
        times = {"warmup": warmup, "baseline": baseline, "faults": faults}
        for name, t in (times | {"recovery": recovery, "end": end}).items():
            if t is not None:
                self.event(t, "phase", target=name)

    def injection(
        self,
        n: int,
        fault: str,
        target: str,
        at: float,
        *,
        confirmed: float | None = 0.01,
        heal: float | None = 0.02,
        healed: float | None = 0.03,
        detail: str = "proved",
        failed: str = "",
        skipped: str = "",
    ) -> None:
        """One injection: begun at `at`; the others are seconds after it, None: never.

        `failed` and `skipped` give the problem and end it there.
        """
        what = {"target": target, "fault": fault, "n": n}
        if skipped:
            self.event(at, "skipped", **what, detail=skipped)
            return
        self.event(at, "inject", **what)
        for kind, after in (("confirmed", confirmed), ("heal", heal), ("healed", healed)):
            if after is not None:
                more = {"detail": detail} if kind == "confirmed" else {}
                self.event(at + after, kind, **what, **more)
        if failed:
            self.event(at + 0.05, "failed", **what, detail=failed)

    def state(self, instance: str, at: float, state: str) -> None:
        """From `at` on the instance is seen up, dead or stopped."""
        self.event(at, "state", target=instance, detail=state)
        if not self.witnessed:
            return
        seen = [row for row in self.watches if row.target == instance]
        if state == "dead":
            self.watch(at, "exit", instance, seen[-1].detail if seen else str(pid(instance)))
        elif state == "up" and seen and seen[-1].kind == "exit":
            for kind in ("started", "ready"):
                self.watch(at, kind, instance, f"{seen[-1].detail}1")

    def write(self) -> RunDir:
        """The folder, with everything in it that a drill leaves behind."""
        run = self.run
        run.path.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {
            "format": FORMAT,
            "wall_minus_monotonic": OFFSET,
            "configuration": configuration(),
        }
        if self.seen:
            facts["instances"] = self.seen
        run.run_json.write_text(json.dumps(facts))
        run.drill_json.write_text(json.dumps(self.drill))
        for path, lines in self._files():
            path.write_bytes(lines)
        return run

    def drain(self) -> None:
        """After `write`: move new rows to the ends of the files, so that many need no memory."""
        for path, lines in self._files():
            with path.open("ab") as file:
                file.write(lines)
        for rows in (self.clients, self.proxies, self.services, self.events, self.effects):
            rows.clear()
        self.watches.clear()
        self.entries.clear()

    def _executed(self) -> list[ServiceRow]:
        return _numbered(self.services) if self.witnessed else self.services

    def _files(self) -> list[tuple[Path, bytes]]:
        run = self.run
        return [
            (run.client_rows, _lines(map(_as_clients_write, self.clients))),
            (run.proxy_rows, _lines(self.proxies)),
            (run.service_rows, _lines(map(_as_services_write, self._executed()))),
            (run.events, _lines(sorted(self.events, key=lambda event: event.t))),
            *([(run.watch_rows, _lines(self.watches))] if self.watched else []),
            (run.effects, _lines(self.effects)),
            (run.entries, _lines(self.entries.values())),
        ]


def ask(run: RunDir, question: str) -> list[dict[str, Any]]:
    """The answer of a run's account to a query, each row by the names of its columns."""
    with account.opened(run) as database:
        found = database.execute(question)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def configuration() -> dict[str, Any]:
    """What run.json says of a topology of 4 api and 2 web instances, as far as anyone reads it."""
    return {
        "stack": {"name": "bulkhead", "home": "var", "rows": True},
        "proxy": {"listen": "127.0.0.1:8080", "workers": 2, "tries": 4, "connect_s": 1},
        "services": {
            name: {
                "kind": "tornado" if name == "api" else "gunicorn",
                "instances": instances,
                "workers": 1 if name == "api" else 2,
                "host": "127.0.0.1",
                "port": port,
                "routes": [route],
                "policy": "least_conn" if name == "api" else "round_robin",
                "timeout_s": 10,
            }
            for name, (instances, port, route) in SERVICES.items()
        },
    }


def drill() -> dict[str, Any]:
    """drill.json: a storm of kills that expects nothing in particular."""
    return {
        "name": "made",
        "title": "A run made by hand",
        "story": "Rows that a test wrote.",
        "seed": 1,
        "predicts": "PASS",
        "load": {
            "rate": 400.0,
            "arrivals": "poisson",
            "mix": {"get": 50, "post_keyed": 50},
            "timeout_s": 12.0,
            "connections": 500,
        },
        "phases": {"warmup_s": 2.0, "baseline_s": 5.0, "faults_s": 20.0, "recovery_s": 6.0},
        "faults": [
            {
                "fault": "kill",
                "target": "any api",
                "at_s": 0.0,
                "every_s": 0.3,
                "times": 66,
                "duration_s": 0.0,
                "with": {},
            }
        ],
        "expect": {},
    }


def _and_last(before: Mapping[str, str], where: str, status: int, seconds: float) -> dict[str, str]:
    """nginx's lists with one good attempt at the end."""
    time = f"{seconds:.3f}"
    last = {"addrs": where, "statuses": str(status), "connect": "0.000"}
    last |= {"header": time, "response": time}
    return {name: ", ".join(filter(None, (before[name], part))) for name, part in last.items()}


def _as_clients_write(row: ClientRow) -> ClientRow:
    """Without a whole good answer no entries are found in it."""
    no_answer = not 0 < row.status < 400
    return msgspec.structs.replace(row, found=None) if no_answer else row


def _numbered(rows: Iterable[ServiceRow]) -> list[ServiceRow]:
    """Each process's executions numbered as they began, whatever order a test made them in."""
    rows = list(rows)
    begins = sorted((row for row in rows if row.kind == "begin"), key=lambda row: row.t)
    last: Counter[tuple[str, str]] = Counter()
    numbers: dict[tuple[str, str, int], int] = {}
    for row in begins:
        last[row.instance, row.boot] += 1
        numbers[row.instance, row.boot, row.n] = last[row.instance, row.boot]
    return [
        msgspec.structs.replace(row, n=numbers.get((row.instance, row.boot, row.n), row.n))
        for row in rows
    ]


def _as_services_write(row: ServiceRow) -> dict[str, Any]:
    """services/common/rows.py leaves out what belongs to the other end."""
    absent = {"status", "effect", "fault"} if row.kind == "begin" else {"method", "target", "key"}
    if not row.fault:
        absent = absent | {"fault"}
    return {k: v for k, v in msgspec.structs.asdict(row).items() if k not in absent}


def _lines(rows: Iterable[Any]) -> bytes:
    return b"".join(encode(row) + b"\n" for row in rows)
