"""The open loop sends each request exactly once, and gives every end its class."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving, not_accepting, refusing
from tests.loadtest.test_once import METHODS, steps_that_tempt

pytestmark = pytest.mark.live

PATIENT_S, IMPATIENT_S = 12, 0.3


def run_steps(
    server: Misbehaving, steps: list[tuple[str, str]], folder: Path, timeout_s: float = PATIENT_S
) -> list[ClientRow]:
    """The rows of these steps, in order; the exit code was 0 and each arrived once at most."""
    rows_file = folder / "client.jsonl"
    done = running.locust(
        running.OPEN_STEPS,
        rows=rows_file,
        settings={"proxy_url": server.url, "request_timeout_s": timeout_s},
        env={"BULKHEAD_TEST_STEPS": json.dumps(steps)},
    )
    assert done.returncode == 0, done.stderr
    rows = running.client_rows(rows_file)
    assert [(row.method, row.target) for row in rows] == steps, done.stderr
    assert server.counts() == Counter(row.id for row in rows)
    return rows


def test_each_request_is_seen_exactly_once_also_where_stock_clients_send_again(
    tmp_path: Path,
) -> None:
    """test_once.py has the control: the same steps through Locust's own client."""
    steps = [(method, f"/{url.rpartition('/')[2]}") for method, url, _ in steps_that_tempt("")]
    with Misbehaving() as server:
        rows = run_steps(server, steps, tmp_path)
    assert [request.id for request in server.seen] == [row.id for row in rows]
    assert Counter((row.target, row.status, row.error) for row in rows) == {
        ("/reset", 0, "reset"): 2 * len(METHODS),
        ("/close", 0, "closed"): len(METHODS),
        ("/ok", 200, ""): 3 * len(METHODS),
        ("/idle", 200, ""): len(METHODS),
    }


def test_a_connection_is_kept_and_one_that_is_of_no_use_any_more_is_replaced_before_a_request(
    tmp_path: Path,
) -> None:
    paths = ("/ok", "/ok", "/idle", "/ok", "/ok-and-close", "/ok", "/idle-408", "/ok", "/ok")
    with Misbehaving() as server:
        rows = run_steps(server, [("POST", path) for path in paths], tmp_path)
    assert [request.connection for request in server.seen] == [1, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [row.error for row in rows] == [""] * len(paths)


ENDS = {
    "/ok": (200, ""),
    "/ok-and-close": (200, ""),
    "/chunked": (200, ""),
    "/pieces": (200, ""),
    "/interim": (200, ""),
    "/no-content": (204, ""),
    "/not-found": (404, ""),
    "/reset": (0, "reset"),
    "/close": (0, "closed"),
    "/short": (0, "closed"),
    "/silent": (0, "timeout"),
    "/short-head": (0, "closed"),
    "/short-chunks": (0, "closed"),
    "/garbage": (0, "other"),
    "/two-answers": (0, "other"),
    "/trickle": (0, "timeout"),
    "/head": (200, ""),
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClientRow]:
    """The row of one request for each behaviour of the server.

    Only those that end by it have a short time-out: on a busy machine the others may be slow, too.
    """
    rows = []
    for timeout_s in (PATIENT_S, IMPATIENT_S):
        steps = [
            ("HEAD" if path == "/head" else "GET", path)
            for path, (_, error) in ENDS.items()
            if (error == "timeout") == (timeout_s == IMPATIENT_S)
        ]
        with Misbehaving() as server:
            rows += run_steps(server, steps, tmp_path_factory.mktemp("ends"), timeout_s)
    return {row.target: row for row in rows}


@pytest.mark.parametrize(("path", "end"), ENDS.items())
def test_an_end_has_its_class(ends: dict[str, ClientRow], path: str, end: tuple[int, str]) -> None:
    assert (ends[path].status, ends[path].error) == end


def test_a_cut_answer_still_has_its_instance_and_its_size(ends: dict[str, ClientRow]) -> None:
    assert (ends["/short"].instance, ends["/short"].bytes) == ("api-1", 2)
    assert ends["/trickle"].bytes > 0


def test_the_answer_to_a_head_has_no_body_whatever_its_length_says(
    ends: dict[str, ClientRow],
) -> None:
    assert ends["/head"].bytes == 0


def test_an_answer_that_is_not_the_requests_own_is_wrong(ends: dict[str, ClientRow]) -> None:
    """This server never says to which request it answers."""
    assert ends["/ok"].wrong == "the answer carries another X-Request-ID"
    assert {row.wrong for row in ends.values() if row.error} == {""}


def test_the_whole_mix_against_a_server_that_breaks_most_connections(tmp_path: Path) -> None:
    script = ("/reset", "/ok", "/ok", "/close", "/two-answers", "/ok", "/short", "/garbage", "/ok")
    with Misbehaving(script) as server:
        rows = running.open_loop(server.url, tmp_path, rate=200, load_s=1)
    assert len(rows) == 200
    assert {row.error for row in rows} == {"", "reset", "closed", "other"}
    assert server.counts() == Counter(row.id for row in rows)
    assert set(server.counts().values()) == {1}


@pytest.mark.parametrize(
    ("nobody", "error"),
    [(refusing, "refused"), (not_accepting, "timeout")],
    ids=["refused", "not accepted"],
)
def test_where_no_connection_comes_about_every_arrival_has_its_row(
    tmp_path: Path, nobody: Callable[[], AbstractContextManager[str]], error: str
) -> None:
    with nobody() as url:
        rows = running.open_loop(url, tmp_path, rate=100, load_s=0.5, request_timeout_s=0.5)
    assert [(row.status, row.error, row.wrong) for row in rows] == [(0, error, "")] * 50
    assert all(row.planned <= row.sent <= row.done for row in rows)
