"""What the open loop asks for, and what it makes of the answers, against the stub."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from tests.loadtest import running
from tests.loadtest.stub import Stub, serving

pytestmark = pytest.mark.live

NAMES = {
    "GET /api/v1/entries/{id}",
    "GET /api/v1/entries",
    "POST /api/v1/entries",
    "PUT /api/v1/entries/{id}",
    "PATCH /api/v1/entries/{id}",
    "DELETE /api/v1/entries/{id}",
    "GET /api/v1/fanout",
    "GET /",
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stub, list[ClientRow]]]:
    """Three seconds of the usual mix, and the stub after them."""
    folder = tmp_path_factory.mktemp("entries")
    with serving() as stub:
        yield stub, running.open_loop(stub.url, folder, rate=300, load_s=3, arrivals="poisson")


def about(row: ClientRow) -> str:
    """The entry in the row's target."""
    return row.target.removeprefix("/api/v1/entries/") if "{id}" in row.name else ""


def test_a_healthy_stack_answers_everything_as_expected(
    load: tuple[Stub, list[ClientRow]],
) -> None:
    stub, rows = load
    assert {(row.status // 100, row.error, row.wrong) for row in rows} == {(2, "", "")}
    assert {(row.instance, row.boot, row.replayed) for row in rows} == {("api-1", "7.42", False)}
    assert {row.name for row in rows} == NAMES
    assert sorted(stub.ids) == sorted(row.id for row in rows)


def test_a_row_tells_the_key_and_the_entry_of_a_write(load: tuple[Stub, list[ClientRow]]) -> None:
    stub, rows = load
    writes = [row for row in rows if row.effect != "read"]
    keys = [row.key for row in writes if row.key]
    assert sorted(keys) == sorted(filter(None, stub.keys))
    assert len(set(keys)) == len(keys)
    assert {row.name for row in writes if not row.key} == {"POST /api/v1/entries"}
    assert all(row.entry for row in writes)
    assert all(row.entry == about(row) for row in writes if "{id}" in row.name)
    assert all(not row.key and not row.entry for row in rows if row.effect == "read")
    made = {row.entry for row in writes if row.effect == "create"}
    deleted = {row.entry for row in writes if row.effect == "delete"}
    assert stub.entries.keys() == made - deleted


def test_the_first_requests_make_the_entries_that_are_read_and_written(
    load: tuple[Stub, list[ClientRow]],
) -> None:
    _, rows = load
    rows = sorted(rows, key=lambda row: row.planned)
    first = rows[:64]
    assert {(row.name, bool(row.key)) for row in first} == {("POST /api/v1/entries", True)}
    used = {about(row) for row in rows if row.method in ("GET", "PUT", "PATCH")} - {""}
    assert used == {row.entry for row in first}


def test_what_is_deleted_is_never_read_or_written(load: tuple[Stub, list[ClientRow]]) -> None:
    _, rows = load
    deleted = [about(row) for row in rows if row.method == "DELETE"]
    assert len(set(deleted)) == len(deleted) > 20
    assert {about(row) for row in rows if row.method != "DELETE"} & set(deleted) == set()


def writes_by_entry(rows: list[ClientRow]) -> dict[str, list[ClientRow]]:
    """The PUTs and PATCHes of each entry, in the order in which they were sent."""
    writes = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.sent):
        if row.effect in ("replace", "change"):
            writes[row.entry].append(row)
    return writes


def test_an_entry_is_written_often_and_by_one_request_at_a_time(
    load: tuple[Stub, list[ClientRow]],
) -> None:
    writes = writes_by_entry(load[1]).values()
    assert sum(map(len, writes)) / len(writes) > 2
    assert all(one.done <= next_.sent for each in writes for one, next_ in pairwise(each))


def test_an_entry_whose_write_got_no_answer_is_written_again(tmp_path: Path) -> None:
    """The stub applies each PATCH and closes without an answer."""
    with serving("silent") as stub:
        rows = running.open_loop(stub.url, tmp_path, rate=150, load_s=1, mix={"put": 1, "patch": 1})
    unknown = [row for row in rows if row.method == "PATCH"]
    assert {(row.status, row.error, row.wrong) for row in unknown} == {(0, "closed", "")}
    followed = [
        one
        for each in writes_by_entry(rows).values()
        for one, _next in pairwise(each)
        if one.method == "PATCH"
    ]
    assert followed
    assert {row.error for row in rows if row.method != "PATCH"} == {""}


def test_a_kind_without_an_entry_creates_one_instead(tmp_path: Path) -> None:
    with serving() as stub:
        rows = running.open_loop(stub.url, tmp_path, rate=50, load_s=0.5, mix={"delete": 1})
    assert {row.name for row in rows} == {
        "POST /api/v1/entries",
        "DELETE /api/v1/entries/{id}",
    }
    assert all(row.key and row.entry and row.status < 300 for row in rows)


WRONG = [
    (
        ("page", "write", "calls", "text"),
        {
            "GET /": "not a whole HTML page",
            "PUT /api/v1/entries/{id}": "the entry is not what was written",
            "GET /api/v1/fanout": "not all calls were answered",
            "GET /api/v1/entries": "unreadable content: DecodeError",
        },
        {"page": 1, "put": 1, "fanout": 1, "list": 1},
    ),
    (
        ("other",),
        {
            "GET /api/v1/entries/{id}": "another entry than asked for",
            "PATCH /api/v1/entries/{id}": "another entry than written",
        },
        {"get": 1, "patch": 1},
    ),
    (("nobody",), {"GET /api/v1/entries": "no X-Instance"}, {"list": 1}),
]


@pytest.mark.parametrize(("faults", "wrong", "mix"), WRONG)
def test_a_wrong_answer_with_a_good_status_is_wrong(
    tmp_path: Path, faults: tuple[str, ...], wrong: dict[str, str], mix: dict[str, int]
) -> None:
    with serving(*faults) as stub:
        rows = running.open_loop(stub.url, tmp_path, rate=60, load_s=1, mix=mix)
    asked = [row for row in rows if row.effect != "create"]
    assert {(row.name, row.status, row.wrong) for row in asked} == {
        (name, 200, what) for name, what in wrong.items()
    }
