"""The tables of a run, from hand-made rows."""

from pathlib import Path

from bulkhead.accounting.account import opened
from bulkhead.report import tables
from tests.support.ranks import nearest_rank
from tests.support.runs import MadeRun


def test_quantiles_are_measured_values_by_nearest_rank(tmp_path: Path) -> None:
    """0.999 x 1000 is 999 and not, by a rounding of binary fractions, 1000."""
    made = MadeRun(tmp_path)
    made.phases()
    for number in range(1000):
        made.request(f"a-{number}", took=(number + 1) / 1000)
    took = sorted(row.done - row.planned for row in made.clients)
    with opened(made.write()) as account:
        (every, retryable) = tables.latencies(account)
    expected = [nearest_rank(took, per_mille) for per_mille in (500, 900, 990, 999)]
    assert every["quantiles"] == [*expected, took[-1]]
    assert (every["kind"], every["phase"], every["requests"], every["answered"]) == (
        "all", "baseline", 1000, 1000
    )  # fmt: skip
    assert (retryable["kind"], retryable["quantiles"]) == ("retryable", every["quantiles"])


def test_a_latency_belongs_to_the_phase_and_class_of_its_request(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", 103.0, took=0.010)
    made.request("a-2", 110.0, took=0.020, effect="create", key="")
    made.request("a-3", 110.0, client={"status": 0, "error": "timeout", "done": 122.0})
    made.request("a-4", 101.0, took=5.0)  # warm-up is not compared
    with opened(made.write()) as account:
        found = {(one["kind"], one["phase"]): one for one in tables.latencies(account)}
    assert set(found) == {
        ("all", "baseline"), ("all", "faults"),
        ("retryable", "baseline"), ("retryable", "faults"), ("non_retryable", "faults"),
    }  # fmt: skip
    assert round(found["non_retryable", "faults"]["quantiles"][4] or 0, 6) == 0.020
    assert found["retryable", "faults"]["quantiles"] == [None] * 5
    assert (found["all", "faults"]["requests"], found["all", "faults"]["answered"]) == (2, 1)


def test_endings_have_counts_shares_phases_and_a_meaning(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    for number in range(3):
        made.request(f"a-{number}", 103.0 + 5 * number)
    made.client("a-4", planned=104.0, sent=0.0, status=0, error="unsent")
    with opened(made.write()) as account:
        answered, not_sent = tables.endings(account)
        assert tables.phases(account) == ("warmup", "baseline", "faults", "recovery")
    assert (answered["outcome"], answered["count"], answered["share"]) == ("answered", 3, 0.75)
    assert answered["by_phase"] == {"baseline": 1, "faults": 2}
    assert (not_sent["outcome"], not_sent["cause"], not_sent["by_phase"]) == (
        "not_sent", "not_sent", {"baseline": 1}
    )  # fmt: skip
    assert answered["meaning"]
    assert not_sent["meaning"]


def test_answers_are_counted_by_instance_and_phase(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", instance="api-2")
    made.request("a-2", 110.0, instance="api-2")
    made.request("a-3", 110.0, instance="api-1")
    made.client("a-4", status=0, error="timeout", instance="")
    with opened(made.write()) as account:
        first, second = tables.answers(account)
    assert (first["instance"], first["count"], first["by_phase"]) == ("api-1", 1, {"faults": 1})
    assert (second["instance"], second["count"], second["by_phase"]) == (
        "api-2",
        2,
        {"baseline": 1, "faults": 1},
    )
    assert round(second["share"], 6) == round(2 / 3, 6)
