"""Reading a ledger: from its file, and from a server by the export; what is not whole is told."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bulkhead.drill.collect import LedgerFile, LedgerServer, ledger_of_this_host
from bulkhead.errors import EvidenceError
from bulkhead.records import EffectRow, EntryRow
from bulkhead.topology.parse import load

EFFECT = {
    "seq": 8, "request_id": "a-1", "key": None, "op": "create", "entry_id": "e", "version": 1,
    "instance": "api-1.app-1", "boot": "7.7", "at": 1.5,
}  # fmt: skip
ENTRY = {"id": "e", "version": 1, "deleted": False}


def exporter(tmp_path: Path, *lines: object, code: int = 0, said: str = "") -> LedgerServer:
    """A command that prints these lines, whatever it is asked."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    script = f"import sys; sys.stdout.write({text!r}); sys.stderr.write({said!r}); sys.exit({code})"
    return LedgerServer([sys.executable, "-c", script], tmp_path)


def test_the_rows_of_a_server(tmp_path: Path) -> None:
    end = {"effects": 1, "entries": 1}
    found = list(exporter(tmp_path, {"effect": EFFECT}, {"entry": ENTRY}, end).rows(7))
    assert found == [
        EffectRow(8, "a-1", None, "create", "e", 1, "api-1.app-1", "7.7", 1.5),
        EntryRow("e", 1, False),
    ]
    assert exporter(tmp_path, {"last": 8}).last() == 8
    assert list(exporter(tmp_path, {"effects": 0, "entries": 0}).rows(8)) == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"effect": EFFECT}],
        [{"effect": EFFECT}, {"entry": ENTRY}],
        [{"effect": EFFECT}, {"effects": 2, "entries": 0}],
        [{"entry": ENTRY}, {"effects": 0, "entries": 0}],
    ],
)
def test_an_export_that_is_not_whole_is_no_evidence(tmp_path: Path, lines: list[object]) -> None:
    with pytest.raises(EvidenceError, match="is not whole"):
        list(exporter(tmp_path, *lines).rows(0))


def test_what_an_export_says_of_its_failure_is_told(tmp_path: Path) -> None:
    broken = exporter(tmp_path, code=1, said="first line\npostgresql://db: away\n")
    for read in (broken.last, lambda: list(broken.rows(0))):
        with pytest.raises(
            EvidenceError, match=r"^the ledger cannot be read: postgresql://db: away"
        ):
            read()


def test_a_file_that_is_not_there_has_applied_nothing(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "none")
    assert (file.last(), list(file.rows(0))) == (0, [])


def test_a_file_that_is_no_ledger_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (x)")
    for read in (LedgerFile(path).last, lambda: list(LedgerFile(path).rows(0))):
        with pytest.raises(EvidenceError, match="cannot be read: no such table"):
            read()


def test_a_stack_on_one_host_may_have_a_server(tmp_path: Path) -> None:
    settings = [
        "stack.ledger_url=postgresql://bulkhead@db/bulkhead",
        f"stack.ledger_password_file={tmp_path / 'password'}",
    ]
    assert isinstance(ledger_of_this_host(load(Path("stack.toml"))), LedgerFile)
    assert isinstance(ledger_of_this_host(load(Path("stack.toml"), settings)), LedgerServer)
