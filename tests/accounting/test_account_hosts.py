"""Rows of several hosts: who had which address, and one time line out of many clocks."""

from pathlib import Path

import pytest

from bulkhead.errors import EvidenceError
from tests.support.runs import OFFSET, MadeRun, ask

APART = 5000.0  # seconds by which the clocks of app-2 are ahead


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    """Two requests a host, the second of each the faster one; app-2 has clocks of its own."""
    made = MadeRun(tmp_path)
    made.phases()
    made.seen = [
        ("10.0.0.1:8101", "api-1.app-1", "api"),
        ("10.0.0.2:8101", "api-1.app-2", "api"),
    ]
    for host, ahead in (("app-1", 0.0), ("app-2", APART)):
        for number, took in enumerate((0.05, 0.01)):
            at = 108.0 + number
            made.request(
                f"{host}-{number}", at, took=took, instance=f"api-1.{host}", effect="create",
                begin={"t": at + 0.2 * took + ahead},
                end={"t": at + 0.8 * took + ahead},
                applied={"at": OFFSET + at + 0.5 * took + ahead},
            )  # fmt: skip
    return made


def test_the_addresses_of_hosts_are_those_that_were_seen(run: MadeRun) -> None:
    found = ask(run.write(), "SELECT DISTINCT address, instance FROM attempts ORDER BY address")
    assert [tuple(one.values()) for one in found] == [
        ("10.0.0.1:8101", "api-1.app-1"),
        ("10.0.0.2:8101", "api-1.app-2"),
    ]


def test_every_hosts_times_are_brought_over_to_the_clients_clock(run: MadeRun) -> None:
    run.watch(108.5 + APART, "exit", "api-1.app-2", "pid 7")
    written = run.write()
    clocks = {(one["host"], one["clock"]): one for one in ask(written, "FROM clocks")}
    assert set(clocks) == {(h, c) for h in ("app-1", "app-2") for c in ("monotonic", "wall")}
    for (host, _), one in clocks.items():
        # Whatever the fastest request leaves open, and no more.
        assert 0 <= one["most_s"] - one["least_s"] <= 0.01 + 1e-6
        wanted = 0.0 if host == "app-1" else -APART
        assert one["added_s"] == pytest.approx(wanted, abs=0.006)
        assert host == "app-2" or one["added_s"] == 0.0
    late = ask(
        written,
        "SELECT id FROM client JOIN executions USING (id) JOIN effects ON request_id = id"
        " WHERE began NOT BETWEEN sent AND executions.ended"
        " OR applied_at NOT BETWEEN sent AND client.done",
    )
    assert late == []
    (row,) = ask(written, "SELECT t FROM watch")
    assert row["t"] == pytest.approx(108.5, abs=0.006)


def test_without_the_addresses_nothing_is_said(run: MadeRun) -> None:
    """A run that was broken off: all its tries would be somebody else's."""
    run.seen = []
    with pytest.raises(EvidenceError, match="does not say who had which address"):
        ask(run.write(), "FROM requests")


def test_one_host_has_one_clock(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1", effect="create", begin={"t": 90.0})
    written = made.write()
    assert ask(written, "FROM clocks") == []
    assert ask(written, "SELECT began FROM executions") == [{"began": 90.0}]


def test_two_hosts_may_have_the_same_boots(tmp_path: Path) -> None:
    """Boots are pids and start times; in containers both begin small."""
    made = MadeRun(tmp_path)
    made.phases()
    made.seen = [("10.0.0.1:8101", "api-1.app-1", "api"), ("10.0.0.2:8101", "api-1.app-2", "api")]
    for host in ("app-1", "app-2"):
        made.request(
            host, instance=f"api-1.{host}", client={"boot": "27.100"},
            begin={"boot": "27.100", "n": 1}, end={"boot": "27.100", "n": 1},
        )  # fmt: skip
    found = ask(made.write(), "SELECT instance, id, status FROM executions ORDER BY id")
    assert [tuple(one.values()) for one in found] == [
        ("api-1.app-1", "app-1", 200),
        ("api-1.app-2", "app-2", 200),
    ]
