"""One recorded run that passes, and every way to tell it otherwise: none of them may pass.

Of each kind of row one is taken away, written twice, moved in time both ways, and changed in each
of its fields, one thing at a time. What no observer could know to be wrong stands in UNSEEN, each
with its reason; a line that is not needed there fails too.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest

from bulkhead.accounting import account
from bulkhead.judge import rules
from bulkhead.judge.case import Case, apply
from bulkhead.judge.expect import Expect
from bulkhead.judge.judge import EVIDENCE, judge
from bulkhead.records import (
    ClientRow,
    EffectRow,
    EntryRow,
    Event,
    ProxyRow,
    ServiceRow,
    WatchRow,
    encode,
)
from bulkhead.rundir import RunDir
from tests.judge.made import DUCKDB
from tests.judge.recorded import unpack

Row: TypeAlias = dict[str, Any]
Change: TypeAlias = tuple[str, list[Row]]  # its name, and what stands in the place of the row

SHIFT_S = 2.5
SEVERAL = 12  # one change in so many, where there are so many kinds: all of them take minutes
SHAPES = {
    "client": ClientRow,
    "proxy": ProxyRow,
    "service": ServiceRow,
    "effects": EffectRow,
    "entries": EntryRow,
    "events": Event,
    "watch": WatchRow,
}
BEGIN, END = {"method", "target", "key"}, {"status", "effect", "fault"}

# A field -> another value that it may well have; any other text gets a letter more.
OTHERS: dict[str, tuple[Any, ...]] = {
    "method": ("GET", "PUT"),
    "effect": ("read", "create", "none", "replayed"),
    "error": ("reset", "unsent"),
    "op": ("create", "replace"),
    "request_class": ("non_retryable", "retryable"),
    "gave_up": ("down_queue_timeout",),
    "complete": ("", "OK"),
    "fault": ("errors",),
    "instance": ("api-1", "web-2"),
    "status": (200, 503),
    "kind": ("end", "confirmed", "exit", "ready"),
    "detail": ("up", "dead"),
    "amount": (1, None),
}

# (file, kind of row, change): why nobody can know. The kind "*" stands for any.
UNSEEN: dict[tuple[str, str, str], str] = {
    ("client", "*", "name"): "a heading of tables, which no rule reads",
    ("proxy", "*", "proxy_id"): "nginx's own: a service hears it of an unkeyed write alone",
    ("proxy", "*", "client"): "nobody else knows where a connection came from",
    ("proxy", "*", "worker"): "nobody else knows which worker it was, where an instance answered",
    ("proxy", "*", "connection"): "nobody else numbers nginx's connections",
    ("client", "POST unkeyed failed", "amount"): "nobody else has seen what it asked for",
    (
        "proxy",
        "sub-request /api/v1/entries",
        "complete",
    ): "the service that asked keeps no row of it",
    ("proxy", "sub-request /whoami", "bytes"): "the service that asked keeps no row of it",
    ("events", "confirmed", "detail"): "the proof, in words for people",
    ("events", "healed", "detail"): "the proof, in words for people",
    ("watch", "hang", "is missing"): "to everybody else, what hung has just died",
    ("watch", "hang", "detail"): "how it was seen, in words for people",
}

# Where somebody knows what UNSEEN says of any kind of row.
SEEN: dict[tuple[str, str, str], str] = {
    ("proxy", "POST unkeyed", "proxy_id"): "the key that the proxy makes of it is in the ledger",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return unpack(tmp_path_factory.mktemp("recorded"))


def test_the_run_passes_as_it_was_recorded(run: RunDir) -> None:
    assert first_objection(run) == ""


def _written(rows: Iterable[Row]) -> bytes:
    return b"".join(encode(row) + b"\n" for row in rows)


def first_objection(run: RunDir) -> str:
    """The first check that does not pass; "" when the run passes.

    The rules one after the other until one objects: the verdict of all of them is the same, and
    takes several times as long.
    """
    drill = json.loads(run.drill_json.read_text())
    expect = Expect.model_validate(drill["expect"])
    planned = sum(one["times"] for one in drill["faults"])
    phases = {name.removesuffix("_s"): seconds for name, seconds in drill["phases"].items()}
    with DUCKDB.cursor() as rows:
        rows.execute("ATTACH ':memory:' AS run")
        try:
            rows.execute("USE run")
            try:
                account.fill(rows, run)
            except Exception as error:  # no evidence: no verdict, and exit code 7
                return str(error)
            case = Case(rows, expect, planned, phases)
            for name, rule in {**EVIDENCE, **rules.PROMISES}.items():
                if (found := apply(name, rule, case, "FAIL")).verdict != "PASS":
                    return found.name
            whole = judge(rows, expect, planned, phases)
            return next(
                (one.name for one in whole.checks if one.verdict in ("FAIL", "INVALID")), ""
            )
        finally:
            rows.execute("USE memory")
            rows.execute("DETACH run")


def examples(name: str, lines: list[bytes]) -> Iterator[tuple[str, int]]:
    """One row of each kind: of before the faults, if the kind is there by then."""
    kinds: dict[str, list[int]] = {}
    ended = {_execution(row) for row in map(json.loads, lines) if row.get("kind") == "end"}
    for place, line in enumerate(lines):
        kinds.setdefault(kind_of(name, json.loads(line), ended), []).append(place)
    for kind, places in sorted(kinds.items()):
        yield kind, places[len(places) // 5]


def _execution(row: Row) -> tuple[Any, ...]:
    return row["instance"], row["boot"], row["n"]


def kind_of(name: str, row: Row, ended: set[tuple[Any, ...]]) -> str:
    """In a few words."""
    match name:
        case "client" | "proxy":
            words: str = _request(row)
            words += " retried" if ", " in row.get("addrs", "") else ""
            return words + (" failed" if not 200 <= row["status"] < 400 else "")
        case "service":
            if row["kind"] == "end":
                return f"end {row['effect']} {row['instance'].partition('-')[0]}"
            return f"begin {_request(row)}" + ("" if _execution(row) in ended else " cut off")
        case "effects":
            return f"{row['op']}{'' if row['key'].startswith('key') else ' unkeyed'}"
        case "entries":
            return "deleted" if row["deleted"] else "there"
        case "events":
            words = {"phase": row["target"], "state": row["detail"]}.get(row["kind"], "")
            return f"{row['kind']} {words}".strip()
        case _:
            return str(row["kind"])


def _request(row: Row) -> str:
    """What is asked for."""
    if row["id"].count("."):
        return f"sub-request {row['target'].partition('?')[0]}"
    if row["method"] == "GET":
        return f"GET {'entry' if row['target'].count('/') == 4 else row['target']}"
    unkeyed = not row["key"] or row["key"].startswith("proxy:")
    return f"{row['method']}{' unkeyed' if unkeyed else ''}"


def changes(name: str, row: Row) -> Iterator[Change]:
    """Everything that is done to a row, one at a time."""
    yield "is missing", []
    yield "is there twice", [row, row]
    fields = SHAPES[name].__struct_fields__
    for field in fields:
        if name == "service" and field in (END if row["kind"] == "begin" else BEGIN):
            continue
        for value in others(field, row.get(field)):
            yield _called(field, row.get(field), value), [{**row, field: value}]


def _called(field: str, was: Any, value: Any) -> str:
    if isinstance(was, int | float) and isinstance(value, float):
        return f"{field} {'later' if value > was else 'earlier'}"
    return field


def others(field: str, was: Any) -> Iterator[Any]:
    """Other values for a field."""
    if isinstance(was, bool):
        yield not was
    elif isinstance(was, float) or field in ("took", "queued"):
        yield float(was + SHIFT_S)
        yield float(was - SHIFT_S)
    elif field in ("connect", "header", "response", "addrs", "statuses"):
        yield from _lists(field, str(was))
    elif field == "found":
        yield from _founds(was)
    elif field in OTHERS:
        yield from (one for one in OTHERS[field] if one != was)
    elif isinstance(was, int):
        yield was + 1
    else:
        yield f"{was or ''}x"


def _lists(field: str, was: str) -> Iterator[str]:
    """One of nginx's lists, its last element changed, or one too few."""
    before, parted, last = was.rpartition(", ")
    yield before + parted + "-"
    yield before or "-"
    match field:
        case "addrs":
            yield before + parted + last[:-1] + str((int(last[-1]) + 1) % 4)
        case "statuses":
            yield before + parted + ("200" if last != "200" else "503")
        case _:
            yield before + parted + (f"{float(last) + SHIFT_S}" if last != "-" else "0.001")


def _founds(was: list[list[Any]] | None) -> Iterator[list[list[Any]] | None]:
    """What an answer showed: nothing, less, or something else."""
    if was is None:
        yield [["another", 1, 1]]
        return
    yield None
    yield was[:-1]
    yield was[1:]
    for place, other in enumerate(("another", was[0][1] + 1, was[0][2] + 1)):
        yield [[*was[0][:place], other, *was[0][place + 1 :]], *was[1:]]
    yield [[was[0][0], was[0][1] - 1, was[0][2]], *was[1:]]


def recorded() -> dict[str, list[bytes]]:
    """The lines of each file."""
    with TemporaryDirectory() as folder:
        run = unpack(Path(folder))
        return {
            name: (run.path / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
            for name in SHAPES
        }


LINES = recorded()
KINDS = {name: list(examples(name, LINES[name])) for name in SHAPES}
EACH = [(name, number) for name in SHAPES for number in range(len(KINDS[name]))]


def sample(name: str, number: int) -> Iterator[Change]:
    """Of the changes to the `number`-th kind some: each is done to a few of the kinds of a file.

    That no row is missing, and none there twice, is tried with all of them, and so is what UNSEEN
    says.
    """
    kinds = KINDS[name]
    kind, line_number = kinds[number]
    row = json.loads(LINES[name][line_number])
    several = min(len(kinds), SEVERAL)
    for place, change in enumerate(changes(name, row)):
        line = line_of(name, kind, change[0])
        told = line and (line[1] == kind or number == 0)
        if place < 2 or told or (place + number) % several == 0:
            yield change


@pytest.mark.parametrize(
    ("name", "number"), EACH, ids=[f"{name} {KINDS[name][number][0]}" for name, number in EACH]
)
def test_no_mutant_passes(run: RunDir, name: str, number: int) -> None:
    """Those that do are those of UNSEEN."""
    kind, place = KINDS[name][number]
    path, lines = run.path / f"{name}.jsonl", LINES[name]
    before, after = b"".join(lines[:place]), b"".join(lines[place + 1 :])
    passed, unseen = set(), set()
    try:
        for what, instead in sample(name, number):
            path.write_bytes(before + _written(instead) + after)
            if line_of(name, kind, what):
                unseen.add(what)
            if not first_objection(run):
                passed.add(what)
    finally:
        path.write_bytes(b"".join(lines))
    assert passed == unseen


def test_each_line_of_what_is_unseen_is_about_something() -> None:
    tried = {
        line_of(name, KINDS[name][number][0], what)
        for name, number in EACH
        for what, _ in sample(name, number)
    }
    assert set(UNSEEN) == tried - {None}


def line_of(name: str, kind: str, what: str) -> tuple[str, str, str] | None:
    """The line of UNSEEN that is about it."""
    lines = (name, kind, what), (name, "*", what)
    if lines[0] in SEEN:
        return None
    return next((one for one in lines if one in UNSEEN), None)
