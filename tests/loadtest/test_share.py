"""The parts of a load that its workers carry out: together they are the load of one process."""

import re
from collections import Counter
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

from bulkhead.records import RowsEnd
from loadtest import seat
from loadtest.open_settings import read
from loadtest.plan import Plan, planned
from loadtest.seat import Seat
from loadtest.share import WHOLE, Share

ASKED = {
    "BULKHEAD_RATE": "200",
    "BULKHEAD_STEPS": "[[3, 900], [5, 100]]",
    "BULKHEAD_LOAD_S": "9",
    "BULKHEAD_SEED": "7",
}
URL = "http://127.0.0.1:8080"


def plan(share: Share, **more: str) -> Plan:
    return planned(
        read(ASKED | {f"BULKHEAD_{name}": text for name, text in more.items()}), URL, share
    )


def arrivals(share: Share, **more: str) -> list[tuple[int, float, str]]:
    """Number, moment and kind of everything that a share sends."""
    mine = plan(share, **more)
    due = list(takewhile(lambda moment: moment < mine.end_s, mine.moments))
    return [
        (share.number(place), moment, next(mine.kinds).name) for place, moment in enumerate(due, 1)
    ]


@pytest.mark.parametrize("process", ["constant", "poisson"])
@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_all_workers_together_send_exactly_what_one_process_sends(
    process: str, workers: int
) -> None:
    shares = [arrivals(Share(index, workers), ARRIVALS=process) for index in range(workers)]
    assert sorted(one for share in shares for one in share) == arrivals(WHOLE, ARRIVALS=process)
    assert len(arrivals(WHOLE, ARRIVALS=process)) == pytest.approx(600 + 1800 + 400, rel=0.05)


def test_every_worker_has_its_part_of_the_rate_in_every_phase() -> None:
    for index in range(4):
        moments = [moment for _, moment, _ in arrivals(Share(index, 4))]
        counts = Counter("first" if at < 3 else "fast" if at < 5 else "last" for at in moments)
        assert counts["first"] == pytest.approx(600 / 4, rel=0.15)
        assert counts["fast"] == pytest.approx(1800 / 4, rel=0.1)
        assert counts["last"] == pytest.approx(400 / 4, rel=0.2)


def test_the_portions_of_connections_and_first_entries_add_up() -> None:
    shares = [Share(index, 3) for index in range(3)]
    assert [share.portion(500) for share in shares] == [167, 167, 166]
    assert [share.portion(1) for share in shares] == [1, 0, 0]
    assert sum(plan(share).connections for share in shares) == 500
    firsts = [[kind for _, _, kind in arrivals(share)][:16] for share in shares]
    assert [first.count("post_keyed") for first in firsts] == [16, 16, 16]  # 50 in all


def test_a_worker_says_which_part_it_has() -> None:
    assert plan(Share(1, 3)).story.endswith("against http://127.0.0.1:8080, part 2 of 3")
    assert plan(WHOLE).story.endswith("against http://127.0.0.1:8080")


def test_a_seat_is_what_the_environment_says() -> None:
    assert seat.read({}) == seat.read({"BULKHEAD_LOAD_WORKER": ""}) == Seat(None, "")
    environment = {"BULKHEAD_LOAD_WORKER": "0", "BULKHEAD_LOAD_PORT_FILE": "port"}
    assert seat.read(environment) == Seat(0, "port")


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "1000", " 1"])
def test_another_worker_is_an_error_that_names_it(text: str) -> None:
    said = f"BULKHEAD_LOAD_WORKER = {text!r}: must be an integer from 0 to 999"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        seat.read({"BULKHEAD_LOAD_WORKER": text})


def test_a_worker_has_a_file_of_its_own_where_the_path_says_so(tmp_path: Path) -> None:
    assert seat.own_rows(f"{tmp_path}/client-{{worker}}.jsonl", 3) == f"{tmp_path}/client-3.jsonl"
    shared = tmp_path / "client.jsonl"
    shared.touch()
    assert seat.own_rows(str(shared), 3) == str(shared)


def test_a_file_of_another_load_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "client-3.jsonl").touch()
    path = f"{tmp_path}/client-{{worker}}.jsonl"
    said = f"BULKHEAD_CLIENT_ROWS = {path!r}: {tmp_path}/client-3.jsonl is there already"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        seat.own_rows(path, 3)


def test_a_signed_file_has_its_end_beside_it(tmp_path: Path) -> None:
    seat.sign(f"{tmp_path}/client-0.jsonl", 12, early=True)
    (end,) = tmp_path.iterdir()
    assert end.name == "client-0.jsonl.end"
    assert msgspec.json.decode(end.read_bytes(), type=RowsEnd) == RowsEnd(12, early=True)
