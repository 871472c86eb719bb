"""Making an account: what is no evidence, what may be missing, and when it is made again."""

import os
from pathlib import Path

import duckdb
import pytest

from bulkhead.accounting import account
from bulkhead.errors import EvidenceError
from bulkhead.rundir import RunDir
from tests.support.runs import MadeRun, ask

FILES = {
    "client.jsonl": "client",
    "proxy.jsonl": "proxy",
    "service.jsonl": "executions",
    "effects.jsonl": "effects",
    "entries.jsonl": "entries",
    "events.jsonl": "events",
    "watch.jsonl": "watch",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = MadeRun(tmp_path / "run")
    made.phases()
    for number in range(5):
        made.request(f"a-{number}", effect="create")
        made.watch(103.0 + number, "ready", "api-1", f"pid {number}")
    return made.write()


def spoil(path: Path, line: bytes, number: int) -> None:
    """Put `line` at the place of line `number` of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = line
    path.write_bytes(b"".join(lines))


# The stack's own rows, which a full disk may cut; the others are written by the run itself.
CUT = ("proxy.jsonl", "service.jsonl", "watch.jsonl")
TORN = [b"no JSON\n", b'{"id":"a-1","na\n', b"\x00\x00\x00\n"]


@pytest.mark.parametrize(
    "line",
    [b"no JSON\n", b"{}\n", b"null\n", b'{"id":"a-1","na\n', b"\x00\x00\x00\n", b'["a"]\n'],
    ids=["no-json", "no-field", "null", "torn", "zeros", "a-list"],
)
def test_a_line_that_is_no_row_is_named(line: bytes, run: RunDir) -> None:
    before = sorted(run.path.iterdir())
    for name in FILES:
        if line in TORN and name in CUT:
            continue
        path = run.path / name
        good = path.read_bytes()
        spoil(path, line, 3)
        with pytest.raises(EvidenceError, match=rf"{path}:3: "):
            account.build(run)
        path.write_bytes(good)
    assert sorted(run.path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("client.jsonl", '"error":""', '"error":"tired"'),
        ("client.jsonl", '"status":201', '"status":"fine"'),
        ("service.jsonl", '"effect":"applied"', '"effect":"some"'),
        ("effects.jsonl", '"op":"create"', '"op":"invent"'),
        ("events.jsonl", '"kind":"phase"', '"kind":"story"'),
        ("proxy.jsonl", '"gave_up":""', '"gave_up":"tired"'),
        ("watch.jsonl", '"kind":"ready"', '"kind":"bored"'),
    ],
)
def test_a_value_that_no_row_can_have_is_named(
    name: str, field: str, value: str, run: RunDir
) -> None:
    path = run.path / name
    text = path.read_text()
    assert field in text
    member = field.split('"')[1]
    path.write_text(text.replace(field, value))
    with pytest.raises(EvidenceError, match=rf"{path}:[12]: .*{member}"):
        account.build(run)


@pytest.mark.parametrize("name", [name for name in FILES if name not in CUT])
def test_a_torn_last_line_is_named(name: str, run: RunDir) -> None:
    path = run.path / name
    text = path.read_bytes()
    path.write_bytes(text[:-20])
    last = text.count(b"\n")
    with pytest.raises(EvidenceError, match=rf"{path}:{last}: "):
        account.build(run)


def lost(run: RunDir) -> list[tuple[str, str, str, int]]:
    return [tuple(row.values()) for row in ask(run, "FROM lost_rows ORDER BY who")]


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("line", TORN, ids=["no-json", "torn", "zeros"])
def test_a_line_that_was_cut_is_left_out_and_counted(name: str, line: bytes, run: RunDir) -> None:
    spoil(run.path / name, line, 3)
    assert lost(run) == [(name.removesuffix(".jsonl"), name, "cut", 1)]
    assert ask(run, "SELECT count(*) AS n FROM requests") == [{"n": 5}]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_last_line_is_counted(name: str, run: RunDir) -> None:
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-20])
    assert lost(run) == [(name.removesuffix(".jsonl"), name, "cut", 1)]


@pytest.mark.parametrize("at", [1, 2, 40, 120])
def test_the_row_after_a_cut_one_is_kept(at: int, run: RunDir) -> None:
    """There is room again: the next process appends its row to the half line at once."""
    path = run.service_rows
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[2][: min(at, len(lines[2]) - 2)]
    path.write_bytes(b"".join([*lines[:2], torn + lines[2], *lines[3:]]))
    assert lost(run) == [("service", "service.jsonl", "cut", 1)]
    assert ask(run, "SELECT count(*) AS n FROM executions WHERE ended IS NOT NULL") == [{"n": 5}]


def test_rows_that_share_a_line_are_rows(run: RunDir) -> None:
    """A cut may take no more of a row than the end of its line."""
    path = run.service_rows
    path.write_bytes(path.read_bytes().replace(b"}\n", b"}", 3))
    assert lost(run) == []
    assert ask(run, "SELECT count(*) AS n FROM executions WHERE ended IS NOT NULL") == [{"n": 5}]


def test_what_could_not_be_written_is_told(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run")
    made.phases()
    made.request("a-1")
    for number in (3, 4):
        made.dropped("api-1", t=105.0 + number, n=number)
    made.watch(106.0, "dropped", "watch", "2")
    found = lost(made.write())
    assert [(observer, how, rows) for observer, _, how, rows in found] == [
        ("service", "dropped", 7),
        ("watch", "dropped", 2),
    ]
    assert found[0][1].startswith("api-1 (boot ")


def test_what_a_client_sent_to_nginx_need_not_be_utf8(run: RunDir) -> None:
    text = run.proxy_rows.read_bytes()
    run.proxy_rows.write_bytes(text.replace(b"key-a-1", b"key-\xff\xfe"))
    assert ask(run, "SELECT key FROM proxy WHERE id = 'a-1'") == [{"key": "key-\ufffd\ufffd"}]
    assert ask(run, "SELECT count(*) AS rows FROM proxy") == [{"rows": 5}]


@pytest.mark.parametrize("name", [name for name in FILES if name != "client.jsonl"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_what_no_observer_wrote_is_an_empty_table(name: str, how: str, run: RunDir) -> None:
    path = run.path / name
    path.unlink()
    if how == "empty":
        path.touch()
    assert ask(run, f"FROM {FILES[name]}") == []
    assert ask(run, "SELECT count(*) AS requests FROM requests") == [{"requests": 5}]


def test_a_run_without_a_request_is_an_account_without_one(run: RunDir) -> None:
    run.client_rows.write_text("")
    assert ask(run, "FROM requests") == []
    assert ask(run, "FROM by_second") == []


def test_without_the_clients_rows_there_is_no_account(run: RunDir) -> None:
    run.client_rows.unlink()
    with pytest.raises(EvidenceError, match=r"client\.jsonl: is missing"):
        account.build(run)


def test_without_run_json_there_is_no_account(run: RunDir) -> None:
    run.run_json.unlink()
    with pytest.raises(EvidenceError, match=r"run\.json: is missing"):
        account.build(run)
    run.run_json.write_text('{"configuration": {"services": {}}}')
    with pytest.raises(EvidenceError, match=r"run\.json: .*wall_minus_monotonic"):
        account.build(run)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "it's run [1]")
    made.request("a-1")
    assert ask(made.write(), "SELECT id FROM requests") == [{"id": "a-1"}]


def test_an_account_is_only_read(run: RunDir) -> None:
    with (
        account.opened(run) as database,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        database.execute("DELETE FROM requests")


def test_an_account_that_fits_its_rows_is_used_again(run: RunDir) -> None:
    account.build(run)
    first = run.account.stat().st_ino
    assert len(ask(run, "FROM requests")) == 5
    assert run.account.stat().st_ino == first


def test_an_account_is_made_again_when_a_row_came_after_it(run: RunDir) -> None:
    assert len(ask(run, "FROM proxy")) == 5
    for path in (run.proxy_rows, run.client_rows):
        with path.open("ab") as file:
            file.write(path.read_bytes().splitlines(keepends=True)[0])
    assert len(ask(run, "FROM proxy")) == 6
    assert len(ask(run, "FROM requests")) == 6


def test_an_account_is_made_again_when_a_file_was_touched(run: RunDir) -> None:
    account.build(run)
    first = run.account.stat().st_ino
    os.utime(run.events, (2_000_000_000, 2_000_000_000))
    ask(run, "FROM requests")
    assert run.account.stat().st_ino != first


def test_an_account_is_made_again_when_other_steps_made_it(run: RunDir) -> None:
    account.build(run)
    with duckdb.connect(run.account) as database:
        database.execute("UPDATE meta SET version = 'older'")
        database.execute("DELETE FROM requests")
    assert len(ask(run, "FROM requests")) == 5


@pytest.mark.parametrize("content", [b"", b"no database at all"])
def test_an_account_is_made_again_when_it_is_none(content: bytes, run: RunDir) -> None:
    run.account.write_bytes(content)
    assert len(ask(run, "FROM requests")) == 5
