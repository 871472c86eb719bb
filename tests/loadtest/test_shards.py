"""The parts of a load that its workers carry out: together they are the load of one process."""

import re
from collections import Counter
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

from bulkhead.records import RowsEnd
from loadtest import rows
from loadtest.pacer import Plan
from loadtest.schedule import WHOLE, Shard
from loadtest.settings import OpenSettings, validated

ASKED = {"rate": 200, "steps": [[3, 900], [5, 100]], "load_s": 9, "seed": 7}
URL = "http://127.0.0.1:8080"


def plan(shard: Shard, **more: str) -> Plan:
    return Plan(validated(OpenSettings, {**ASKED, **more}), URL, shard)


def arrivals(shard: Shard, **more: str) -> list[tuple[int, float, str]]:
    """Number, moment and kind of everything that a shard sends."""
    mine = plan(shard, **more)
    due = list(takewhile(lambda moment: moment < mine.end_s, mine.moments))
    return [
        (shard.number(place), moment, next(mine.kinds).name) for place, moment in enumerate(due, 1)
    ]


@pytest.mark.parametrize("process", ["constant", "poisson"])
@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_all_workers_together_send_exactly_what_one_process_sends(
    process: str, workers: int
) -> None:
    shards = [arrivals(Shard(index, workers), arrivals=process) for index in range(workers)]
    assert sorted(one for shard in shards for one in shard) == arrivals(WHOLE, arrivals=process)
    assert len(arrivals(WHOLE, arrivals=process)) == pytest.approx(600 + 1800 + 400, rel=0.05)


def test_every_worker_has_its_part_of_the_rate_in_every_phase() -> None:
    for index in range(4):
        moments = [moment for _, moment, _ in arrivals(Shard(index, 4))]
        counts = Counter("first" if at < 3 else "fast" if at < 5 else "last" for at in moments)
        assert counts["first"] == pytest.approx(600 / 4, rel=0.15)
        assert counts["fast"] == pytest.approx(1800 / 4, rel=0.1)
        assert counts["last"] == pytest.approx(400 / 4, rel=0.2)


def test_the_portions_of_connections_and_first_entries_add_up() -> None:
    shards = [Shard(index, 3) for index in range(3)]
    assert [shard.portion(500) for shard in shards] == [167, 167, 166]
    assert [shard.portion(1) for shard in shards] == [1, 0, 0]
    assert sum(plan(shard).connections for shard in shards) == 500
    firsts = [[kind for _, _, kind in arrivals(shard)][:16] for shard in shards]
    assert [first.count("post_keyed") for first in firsts] == [16, 16, 16]  # 50 in all


def test_a_worker_says_which_part_it_has() -> None:
    assert plan(Shard(1, 3)).story.endswith("against http://127.0.0.1:8080, part 2 of 3")
    assert plan(WHOLE).story.endswith("against http://127.0.0.1:8080")


def test_a_worker_has_a_file_of_its_own_where_the_path_says_so(tmp_path: Path) -> None:
    assert rows.own_path(f"{tmp_path}/client-{{worker}}.jsonl", 3) == f"{tmp_path}/client-3.jsonl"
    shared = tmp_path / "client.jsonl"
    shared.touch()
    assert rows.own_path(str(shared), 3) == str(shared)


def test_a_file_of_another_load_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "client-3.jsonl").touch()
    path = f"{tmp_path}/client-{{worker}}.jsonl"
    said = f"rows = {path!r}: {tmp_path}/client-3.jsonl is there already"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        rows.own_path(path, 3)


def test_a_whole_file_has_its_end_beside_it(tmp_path: Path) -> None:
    rows.write_end(f"{tmp_path}/client-0.jsonl", 12, early=True)
    (end,) = tmp_path.iterdir()
    assert end.name == "client-0.jsonl.end"
    assert msgspec.json.decode(end.read_bytes(), type=RowsEnd) == RowsEnd(12, early=True)
