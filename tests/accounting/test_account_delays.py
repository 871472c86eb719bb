"""Which part of its latency made an answer late, and which answers are late at all."""

from pathlib import Path

import pytest

from tests.accounting.landing import Make, Row, by_service
from tests.support.runs import OFFSET, Failed, MadeRun, ask, attempts

AT = 108.0
STATIC = attempts([]) | {"instance": "proxy", "took": 0.3, "ended": OFFSET + AT + 0.3}


def slow_elsewhere(run: MadeRun, id: str) -> None:
    """The instance that was told to be slow is not the one that answered."""
    run.request(id, AT, took=0.3, failed=[Failed("api-2", "died")])
    run.end(run.begin(id, instance="api-2", t=AT + 0.1), t=AT + 5, fault="slow")


CASES: dict[str, tuple[str, Make]] = {
    "sent-late": (
        "sent_late",
        lambda run, id: run.request(id, AT, client={"planned": AT - 0.3}),
    ),
    "a-way-to-the-proxy": (
        "before_proxy",
        lambda run, id: run.request(id, AT, client={"planned": AT - 0.3, "sent": AT - 0.3}),
    ),
    "a-file-of-nginx": (
        "before_proxy",
        lambda run, id: run.request(
            id, AT, client={"done": AT + 0.3}, proxy=STATIC, begin=None
        ),
    ),
    "queued-in-the-proxy": (
        "queued",
        lambda run, id: run.request(
            id, AT, client={"done": AT + 0.3}, proxy={"took": 0.29, "queued": 0.25}
        ),
    ),
    "a-way-to-the-proxy-that-was-longer-than-the-hold": (
        "before_proxy",
        lambda run, id: run.request(
            id, AT, client={"done": AT + 0.9}, proxy={"took": 0.29, "queued": 0.25}
        ),
    ),
    "a-try-that-hung": (
        "retried",
        lambda run, id: run.request(id, AT, failed=[Failed("api-2", "timeout", 10.0)]),
    ),
    "two-tries-that-hung": (
        "retried",
        lambda run, id: run.request(
            id,
            AT,
            took=0.3,
            failed=[Failed("api-2", "timeout", 0.2), Failed("api-3", "timeout", 0.2)],
        ),
    ),
    "told-to-be-slow": (
        "injected_slow",
        lambda run, id: run.request(id, AT, took=0.3, end={"fault": "slow"}),
    ),
    "slow-by-itself": (
        "service",
        lambda run, id: run.request(id, AT, took=0.3),
    ),
    "slow-where-it-was-not-told-to": (
        "service",
        slow_elsewhere,
    ),
    "waiting-for-its-turn": (
        "at_instance",
        lambda run, id: run.request(
            id, AT, took=0.3, begin={"t": AT + 0.2}, end={"t": AT + 0.21}
        ),
    ),
    "an-execution-without-an-end": (
        "at_instance",
        lambda run, id: run.request(id, AT, took=0.3, end=None),
    ),
    "not-known-to-the-proxy": (
        "unknown",
        lambda run, id: run.request(id, AT, took=0.3, proxy=None),
    ),
    "in-time": ("", lambda run, id: run.request(id, AT, took=0.09)),
    "just-in-time": ("", lambda run, id: run.request(id, AT, client={"done": AT + 0.1})),
    "late-and-failed": ("", lambda run, id: by_service(run, id, 503, took=0.3)),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    run = MadeRun(tmp_path_factory.mktemp("run"))
    run.phases()
    for number in range(9):
        run.request(f"usual-{number}", 103.0, took=0.005)
    for name, (_, make) in CASES.items():
        make(run, name)
    return {row["id"]: row for row in ask(run.write(), "FROM requests")}


@pytest.mark.parametrize("name", CASES)
def test_the_largest_part_is_the_cause(name: str, found: dict[str, Row]) -> None:
    assert found[name]["delay_cause"] == CASES[name][0], found[name]["detail"]


def test_the_parts_are_told_and_add_up(found: dict[str, Row]) -> None:
    assert found["two-tries-that-hung"]["detail"] == (
        "0.700 s: sent late 0.000, before proxy 0.090, queued 0.000, retried 0.400, "
        "at instance 0.030, service 0.180"
    )


@pytest.mark.parametrize(("usual_s", "cause"), [(0.04, "service"), (0.06, "")])
def test_late_is_ten_times_the_usual(usual_s: float, cause: str, tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.phases()
    for number in range(9):
        run.request(f"usual-{number}", 103.0, took=usual_s)
        run.request(f"warm-{number}", 101.0, took=9.0)  # not the baseline
        by_service(run, f"failed-{number}", 503, took=9.0)  # not answered
    run.request("a-1", AT, took=0.5)
    assert ask(run.write(), "SELECT delay_cause FROM requests WHERE id = 'a-1'") == [
        {"delay_cause": cause}
    ]
