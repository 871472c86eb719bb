"""The user classes of the real locustfile, against a stub that keeps the services' contract."""

import re
from collections import Counter
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from tests.loadtest import running
from tests.loadtest.stub import Stub, serving

pytestmark = pytest.mark.live

NAMES = {
    "Browser": {"GET /", "GET /about", "GET /session", "GET /static/style.css"},
    "Reader": {
        "GET /api/v1/whoami",
        "GET /api/v1/entries",
        "POST /api/v1/entries",
        "GET /api/v1/entries/{id}",
        "GET /api/v1/work",
    },
    "Writer": {
        "POST /api/v1/entries",
        "GET /api/v1/entries/{id}",
        "PUT /api/v1/entries/{id}",
        "PATCH /api/v1/entries/{id}",
        "DELETE /api/v1/entries/{id}",
    },
}


def run(stub: Stub, folder: Path, *arguments: str) -> tuple[str, list[ClientRow]]:
    """Run the locustfile; what it printed, and its rows."""
    rows_file = folder / "client.jsonl"
    done = running.locust(
        running.LOCUSTFILE,
        *("-u", "6", "-r", "6", "-t", "1s", *arguments),
        rows=rows_file,
        settings={"proxy_url": stub.url, "pace": 0.05},
    )
    assert "All users spawned" in done.stderr, done.stderr
    rows = running.client_rows(rows_file)
    assert Counter(stub.ids) == Counter(row.id for row in rows)
    return done.stderr, rows


def failures(log: str) -> dict[str, str]:
    """What Locust itself counted as failed, and why, from the error report that it prints."""
    return dict(
        re.findall(r"^\d+ +(\w+ \S+): UnexpectedError\([\"'](.*)[\"']\)", log, re.MULTILINE)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_user_class_does_all_it_says_without_failure(tmp_path: Path, name: str) -> None:
    with serving() as stub:
        log, rows = run(stub, tmp_path, name)
    assert {row.name for row in rows} == NAMES[name]
    assert failures(log) == {}
    assert {(row.status // 100, row.error, row.instance, row.boot) for row in rows} == {
        (2, "", "api-1", "7.42")
    }
    writes = [row for row in rows if row.effect != "read"]
    assert sorted(row.key for row in writes) == sorted(set(stub.keys))
    assert all(row.entry for row in writes)
    assert all(not row.key for row in rows if row.effect == "read")


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (
            ("page",),
            {"GET /": "not a whole HTML page", "GET /about": "not a whole HTML page"},
        ),
        (
            ("session", "instance", "write"),
            {
                "GET /session": "the session's visits did not go up by one",
                "GET /api/v1/whoami": "the body names another instance than the header",
                "PUT /api/v1/entries/{id}": "the entry's version is not what was written",
                "PATCH /api/v1/entries/{id}": "the entry's version is not what was written",
            },
        ),
    ],
)
def test_wrong_content_with_status_200_counts_as_failed(
    tmp_path: Path, faults: tuple[str, ...], expected: dict[str, str]
) -> None:
    with serving(*faults) as stub:
        log, rows = run(stub, tmp_path)
    assert {row.status // 100 for row in rows} == {2}
    assert failures(log) == expected
    assert {row.name: row.wrong for row in rows if row.wrong} == expected, "the rows say it too"


def test_a_writer_never_looks_again_at_an_entry_it_knows_nothing_about(tmp_path: Path) -> None:
    """The stub applies each PATCH and closes without an answer."""
    with serving("silent") as stub:
        log, rows = run(stub, tmp_path, "Writer")
    unknown = [row for row in rows if row.method == "PATCH"]
    assert unknown
    assert {(row.status, row.error) for row in unknown} == {(0, "closed")}
    for row in unknown:
        later = [other for other in rows if other.sent > row.sent and row.entry in other.target]
        assert later == []
    assert failures(log) == {
        "PATCH /api/v1/entries/{id}": "no answer: closed: the peer closed before the whole answer"
    }


def test_all_users_together_with_an_html_report(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with serving() as stub:
        log, rows = run(stub, tmp_path, "-u", "12", "-t", "2s", "--html", str(report))
    assert {row.name for row in rows} == set.union(*NAMES.values())
    assert "Ramping to 12 users at a rate of 6.00 per second" in log
    assert "/api/v1/entries/{id}" in report.read_text()
    assert failures(log) == {}
