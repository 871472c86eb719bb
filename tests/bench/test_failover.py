"""Who is ahead of whom is said in words, also where it is not bulkhead."""

from dataclasses import replace

from bench import failover, proxies
from bench.failover import SetUp
from bench.figures import Figures

OURS = Figures(6000, 0, {}, 3, 20, 90, 300, 300, 1)
PEER = SetUp("HAProxy", "startsecs=0", proxies.PEERS[1], 0)


def said(failed: int, worst_ms: float | None) -> str:
    theirs = replace(OURS, failed=failed, worst_ms=worst_ms)
    (line,) = failover.comparison({SetUp(): OURS, PEER: theirs})
    return line


def test_ahead_in_both() -> None:
    line = said(failed=7, worst_ms=1500)
    assert line.startswith("against HAProxy (startsecs=0): ahead in failures (0 to 7), ahead in")
    assert line.endswith("(300 to 1,500 ms, of the 99.9 % that it answered well)")


def test_behind_is_said() -> None:
    assert "BEHIND in worst latency (300 to 117 ms)" in said(failed=0, worst_ms=117)


def test_a_proxy_that_answers_few_soon_is_shown_to_answer_few() -> None:
    line = said(failed=5700, worst_ms=117)
    assert line.endswith(
        "BEHIND in worst latency (300 to 117 ms, of the 5.0 % that it answered well)"
    )


def test_none_lost_by_either_is_level() -> None:
    assert "level in failures (0 to 0)" in said(failed=0, worst_ms=400)


def test_a_peer_that_never_answered_is_behind() -> None:
    assert "ahead in worst latency (300 to never ms, of the 0.0 %" in said(
        failed=6000, worst_ms=None
    )


def test_without_a_row_of_its_own_nothing_is_compared() -> None:
    assert failover.comparison({PEER: OURS}) == []


def test_startsecs_is_of_no_importance_where_nothing_dies() -> None:
    hang, storm = failover.set_ups("hang"), failover.set_ups("kill-storm")
    assert [one.startsecs for one in hang if one.peer] == [1, 1, 1]
    assert [one.startsecs for one in storm if one.peer] == [1, 0, 1, 0, 1, 0]
    assert hang[0].name == storm[0].name == "bulkhead"
