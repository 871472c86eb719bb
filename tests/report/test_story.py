"""The story of one request, whole texts."""

from pathlib import Path

import pytest

from bulkhead.accounting.account import opened
from bulkhead.errors import EvidenceError
from bulkhead.report.story import stories, text
from tests.accounting.landing import held_up
from tests.support.runs import OFFSET, Failed, MadeRun


def told(made: MadeRun, id: str) -> list[str]:
    with opened(made.write()) as account:
        return text(account, id).splitlines()


def test_a_write_that_was_retried_because_its_instance_was_killed(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.injection(1, "kill", "api-1", 108.005, healed=0.4)
    made.request(
        "a-1", 108.0, effect="create", failed=[Failed("api-1", "died", 0.02)],
        instance="api-2", took=0.01,
    )  # fmt: skip
    made.begin("a-1", t=108.002, instance="api-1", method="POST", target="/api/v1/entries")
    assert told(made, "a-1") == [
        "POST /api/v1/entries   a-1",
        "class retryable, with a key; planned 8.000 s into the run, in faults",
        "answered",
        "",
        "   0.0 ms  client  plans POST /api/v1/entries",
        "   0.0 ms  client  sends it",
        "   1.0 ms  proxy   has it for 28.0 ms, answers 201",
        "   1.0 ms  proxy   attempt 1: api-1 at 127.0.0.1:8101: 502, connected after 0.0,"
        " no answer until 20.0 ms",
        "   2.0 ms  api-1   begins POST /api/v1/entries (pid 8101, boot 8101.77); it never ended",
        "   5.0 ms  fault   kill of api-1 (injection 1)",
        "  21.0 ms  proxy   attempt 2: api-2 at 127.0.0.1:8102: 201, connected 0.0, header 7.0,"
        " whole 7.0 ms",
        "  22.0 ms  api-2   begins POST /api/v1/entries (pid 8102, boot 8102.77, key key-a-1)",
        "  25.0 ms  ledger  commits effect 1: create of entry-a-1, version 1, for api-2",
        "  28.0 ms  api-2   ends with 201, effect applied",
        "  30.0 ms  client  has a whole answer: 201 from api-2 (answered)",
    ]


def test_a_request_that_waited_in_the_queue_and_what_the_watchdog_did_meanwhile(
    tmp_path: Path,
) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.watch(107.9, "exit", "api-1", "pid 8101")  # before it was planned
    made.watch(108.1, "hang", "api-1", "pid 8105: stopped")
    made.watch(108.2, "ready", "api-4", "pid 8109")  # it has nothing to do with this one
    made.watch(108.25, "supervisord", "supervisord", "pid 9000")
    made.request(
        "a-1", 108.0, failed=[Failed("api-1", "died", 0.1)], instance="api-2",
        proxy={"queued": 0.15, "took": 0.30, "ended": OFFSET + 108.301},
        client={"done": 108.31},
    )  # fmt: skip
    lines = told(made, "a-1")
    assert lines[2].startswith("answered: slow, queued: 0.310 s: ")
    assert any(
        "has it for 300.0 ms (150.0 of them waiting for an instance)" in one for one in lines
    )
    assert [line for line in lines if "watchdog" in line] == [
        "  100.0 ms  watchdog  hang api-1: pid 8105: stopped",
        "  250.0 ms  watchdog  supervisord supervisord: pid 9000",
    ]


def test_why_nginx_gave_up(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    held_up(made, "a-1", "busy_queue_timeout")
    wanted = (
        "(5,000 of them waiting for an instance), answers 503 by itself: "
        "no instance had room in time"
    )
    assert any(line.endswith(wanted) for line in told(made, "a-1"))


def test_what_a_service_asked_for_on_a_requests_behalf_is_part_of_it(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", 103.0, took=0.02, instance="web-1", client={"target": "/"})
    made.request("a-1.1", 103.006, took=0.005, instance="api-3", client=None)
    made.request("a-11", 103.0)
    lines = told(made, "a-1")
    assert [line for line in lines if "a-1.1" in line or "api-3" in line] == [
        "   6.5 ms  proxy     for a-1.1: GET /api/v1/entries/entry-1, has it for 4.0 ms,"
        " answers 200",
        "   6.5 ms  proxy     attempt 1: api-3 at 127.0.0.1:8103: 200, connected 0.0, header 3.0,"
        " whole 3.0 ms",
        "   7.0 ms  api-3     begins GET /api/v1/entries/entry-1 (pid 8103, boot 8103.77)",
        "  10.0 ms  api-3     ends with 200, effect none",
    ]
    assert not any("a-11" in line for line in lines)


def test_an_upstream_without_a_live_instance_is_no_attempt_at_one(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", 108.0, failed=[Failed("api", "refused", 0.0)])
    assert any(
        "attempt 1: api: 502, no instance was left to try" in one for one in told(made, "a-1")
    )


def test_a_client_that_gave_up(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request(
        "a-1", 108.0, effect="create", key="", end=None, applied=None,
        client={"status": 0, "error": "timeout", "done": 120.0, "instance": "", "boot": ""},
        proxy={"status": 499, "statuses": "-", "header": "-", "response": "12.000", "complete": "",
               "took": 12.0},
    )  # fmt: skip
    lines = told(made, "a-1")
    assert lines[2].startswith("indeterminate: client_timeout")
    assert lines[-1].endswith("client  gives up: timeout (indeterminate: client_timeout)")
    assert any(
        "127.0.0.1:8101: left, connected after 0.0, no answer until 12,000 ms" in line
        for line in lines
    )
    assert any("it never ended" in line for line in lines)


def test_control_characters_of_a_request_do_not_reach_the_terminal(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", client={"target": "/\x1b]0;owned\x07\n"})
    with opened(made.write()) as account:
        shown = text(account, "a-1")
    assert "/\\x1b]0;owned\\x07\\n" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_colour_marks_how_it_ended(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1")
    with opened(made.write()) as account:
        assert "\x1b[32manswered\x1b[0m" in text(account, "a-1", colour=True)


def test_an_id_that_no_request_has_is_an_error_and_of_many_the_known_are_told(
    tmp_path: Path,
) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1")
    with opened(made.write()) as account:
        assert list(stories(account, ["a-1", "nobody"])) == ["a-1"]
        with pytest.raises(EvidenceError, match="request nobody: no request of this run has that"):
            text(account, "nobody")
