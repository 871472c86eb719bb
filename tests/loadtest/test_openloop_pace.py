"""The open loop keeps to its schedule whatever the server does, and leaves no arrival out."""

import math
import select
import signal
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from bulkhead.testing import wait_until
from loadtest.system import Alarm
from tests.loadtest import running
from tests.loadtest.misbehaving import LATE_S, Misbehaving
from tests.loadtest.stub import serving

pytestmark = pytest.mark.live

LIST = {"list": 1}


def offsets(rows: list[ClientRow]) -> list[float]:
    return [row.planned - rows[0].planned for row in sorted(rows, key=number)]


def number(row: ClientRow) -> int:
    return int(row.id.partition("-")[2])


def test_requests_go_out_when_planned_though_no_answer_comes(tmp_path: Path) -> None:
    with Misbehaving(("/silent",)) as server:
        rows = running.open_loop(
            server.url, tmp_path, rate=40, load_s=0.5, mix=LIST, request_timeout_s=2
        )
    assert [(row.error, row.status) for row in rows] == [("timeout", 0)] * 20
    assert offsets(rows) == pytest.approx([n / 40 for n in range(20)])
    assert max(row.sent for row in rows) < min(row.done for row in rows), "all in flight at once"
    assert all(row.done - row.sent >= 2 for row in rows), "each had its time"


def test_an_arrival_waits_for_a_connection_and_its_latency_counts_from_its_planned_moment(
    tmp_path: Path,
) -> None:
    """All answers are late and there is one connection: the second arrival waits for the first."""
    with Misbehaving(("/late",)) as server:
        rows = running.open_loop(server.url, tmp_path, rate=20, load_s=0.1, mix=LIST, connections=1)
    first, second = rows
    assert first.done <= second.sent
    assert second.planned < first.done
    assert second.planned - first.planned == pytest.approx(0.05)
    assert second.done - second.planned > 1.5 * LATE_S
    assert {request.connection for request in server.seen} == {1}


def test_what_finds_no_connection_within_a_second_is_never_sent_and_has_its_row(
    tmp_path: Path,
) -> None:
    with Misbehaving(("/silent",)) as server:
        rows = running.open_loop(
            server.url,
            tmp_path,
            rate=100,
            load_s=0.5,
            connections=3,
            request_timeout_s=4,
            mix={"list": 1, "get": 1, "post": 1, "delete": 1},
        )
    assert len(rows) == 50
    unsent = [row for row in rows if row.error == "unsent"]
    assert len(unsent) == 47
    assert {(row.sent, row.status, row.wrong, row.entry) for row in unsent} == {(0, 0, "", "")}
    assert all(row.done - row.planned >= 1 for row in unsent)
    assert {row.target for row in unsent} == {
        "/api/v1/entries?limit=20",
        "/api/v1/entries/{id}",
        "/api/v1/entries",
    }
    assert server.counts() == Counter(row.id for row in rows if row.sent)


def test_after_a_pause_of_its_own_it_sends_all_that_became_due_meanwhile(tmp_path: Path) -> None:
    """The generator itself is stopped for a second, as a busy machine might stop it."""
    rows_file = tmp_path / "client.jsonl"
    with serving() as stub:
        asked = {
            "proxy_url": stub.url,
            "arrivals": "constant",
            "rate": 100,
            "load_s": 3,
            "mix": LIST,
        }
        words = ("--headless", "--only-summary")
        with running.started(running.OPEN, *words, rows=rows_file, settings=asked) as load:
            wait_until("requests", lambda: len(stub.ids) > 20)
            load.process.send_signal(signal.SIGSTOP)
            until = time.monotonic() + 1.2
            wait_until("more than a second", lambda: time.monotonic() > until)
            load.process.send_signal(signal.SIGCONT)
            assert load.end() == 0, load.log
    rows = running.client_rows(rows_file)
    assert Counter(stub.ids) == Counter(row.id for row in rows)
    assert offsets(rows) == pytest.approx([n / 100 for n in range(300)])
    assert {row.error for row in rows} == {""}
    assert max(row.sent - row.planned for row in rows) > 1
    by_number = sorted(rows, key=number)
    assert all(one.sent <= other.sent for one, other in pairwise(by_number)), "in their order"


def test_the_same_seed_makes_the_same_load(tmp_path: Path) -> None:
    def load(seed: int) -> tuple[list[str], list[float], str]:
        folder = tmp_path / f"{seed} {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        with serving() as stub:
            rows = running.open_loop(
                stub.url,
                folder,
                rate=100,
                load_s=0.5,
                seed=seed,
                arrivals="poisson",
                mix={"list": 2, "post": 1, "post_keyed": 1, "page": 1, "fanout": 1},
            )
        assert [row for row in rows if row.status >= 400 or row.error or row.wrong] == []
        names = [f"{row.name} {bool(row.key)}" for row in sorted(rows, key=number)]
        return names, offsets(rows), rows[0].id.partition("-")[0]

    first, again, other = load(3), load(3), load(4)
    assert first[0] == again[0] != other[0]
    assert first[1] == pytest.approx(again[1])
    assert first[2] != again[2], "ids, and so keys, are never used twice"


@pytest.mark.parametrize("ahead_s", [0.05, -1])
def test_an_alarm_rings_at_its_moment_and_not_before(ahead_s: float) -> None:
    alarm, waiting = Alarm(), select.poll()
    waiting.register(alarm.fd, select.POLLIN)
    moment = time.monotonic() + ahead_s
    alarm.set(moment)
    assert waiting.poll(10_000)
    assert time.monotonic() >= moment
    alarm.set(math.inf)
    assert not waiting.poll(0)
    alarm.close()
