"""The tables of an account: what one row of each comes from."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from bulkhead.accounting.evidence import MOST_INSTANCES, Facts
from bulkhead.records import (
    ClientRow,
    EffectRow,
    EntryRow,
    Event,
    EventKind,
    GaveUp,
    ProxyRow,
    WatchKind,
    WatchRow,
)
from bulkhead.topology.model import ServiceSection
from tests.support.runs import OFFSET, Failed, MadeRun, ask, attempts, boot


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    made = MadeRun(tmp_path)
    made.phases()
    return made


def one(run: MadeRun, question: str) -> dict[str, Any]:
    (row,) = ask(run.write(), question)
    return row


def test_evidence_is_kept_as_it_was_written(run: MadeRun) -> None:
    run.request("a-1", effect="create")
    run.request("b-1", proxy=None)
    run.watch(108.0, "hang", "api-1", "pid 7: stopped")
    folder = run.write()
    for table, shape, row in (
        ("client", ClientRow, run.clients[0]),
        ("proxy", ProxyRow, run.proxies[0]),
        ("effects", EffectRow, run.effects[0]),
        ("entries", EntryRow, run.entries["entry-a-1"]),
        ("events", Event, run.events[0]),
        ("watch", WatchRow, run.watches[0]),
    ):
        (found, *_) = ask(folder, f"FROM {table}")
        names = [name for name in shape.__struct_fields__ if name != "found"]
        assert {name: found[name] for name in names} == {name: getattr(row, name) for name in names}
    assert ask(folder, "FROM shown ORDER BY id") == [
        {"id": "a-1", "place": 1, "entry": "entry-a-1", "version": 1, "amount": 1},
        {"id": "b-1", "place": 1, "entry": "entry-1", "version": 1, "amount": 1},
    ]
    assert ask(folder, "SELECT seq, id FROM client ORDER BY seq") == [
        {"seq": 1, "id": "a-1"},
        {"seq": 2, "id": "b-1"},
    ]


def test_the_wall_clock_is_brought_over(run: MadeRun) -> None:
    run.request("a-1", effect="create", proxy={"ended": OFFSET + 103.5, "took": 0.25})
    assert one(run, "SELECT began_at, ended_at FROM proxy") == pytest.approx(
        {"began_at": 103.25, "ended_at": 103.5}, abs=1e-6
    )
    assert one(run, "SELECT applied_at FROM effects") == pytest.approx(
        {"applied_at": 103.005}, abs=1e-6
    )


def test_an_instance_that_scale_added_has_its_name(run: MadeRun) -> None:
    addrs = "127.0.0.1:8106, 127.0.0.1:8164, 127.0.0.1:8165, 127.0.0.1:8203"
    run.request("a-1", proxy={"addrs": addrs, "statuses": "502, 502, 502, 200"})
    rows = ask(run.write(), "SELECT instance FROM attempts ORDER BY n")
    assert [row["instance"] for row in rows] == ["api-6", "api-64", "127.0.0.1:8165", "web-3"]


def test_a_service_cannot_grow_into_the_ports_of_another() -> None:
    assert len(instances(api=(4, 8101), web=(2, 8201))) == 2 * MOST_INSTANCES
    near = instances(web=(2, 8105), api=(4, 8101))
    assert near["127.0.0.1:8104"] == "api-4"
    assert near["127.0.0.1:8105"] == "web-1"
    assert instances(api=(9, 8101))["127.0.0.1:8109"] == "api-9"
    field = ServiceSection.model_fields["instances"]
    assert MOST_INSTANCES in [getattr(one, "le", None) for one in field.metadata]


def test_a_service_may_grow_past_the_ports_of_one_on_another_host() -> None:
    found = instances("127.0.0.2", api=(4, 8101), web=(2, 8105))
    assert found["127.0.0.1:8105"] == "api-5"
    assert found["127.0.0.2:8105"] == "web-1"


def instances(web_host: str = "127.0.0.1", /, **services: tuple[int, int]) -> dict[str, str]:
    """The name of every address, of services with so many instances from such a port on."""
    hosts = {"web": web_host}
    given = {
        name: {"host": hosts.get(name, "127.0.0.1"), "port": port, "instances": number}
        for name, (number, port) in services.items()
    }
    found = {"wall_minus_monotonic": 0.0, "configuration": {"services": given}}
    rows = msgspec.convert(found, Facts).instances()
    assert len({address for address, *_ in rows}) == len(rows)
    assert sum(configured for *_, configured, _ in rows) == sum(one for one, _ in services.values())
    return {address: name for address, name, *_ in rows}


def test_a_list_of_nginx_is_an_attempt_an_element(run: MadeRun) -> None:
    lists = {
        "addrs": "127.0.0.1:8101, 127.0.0.1:8102 : 127.0.0.1:8201, 10.0.0.9:80, api",
        "statuses": "502, 504 : -, 200, 502",
        "connect": "-, 0.001 : 0.002, 0.003, -",
        "header": "-, - : -, 0.030, -",
        "response": "0.001, 1.000 : 0.002, 0.040, 0.000",
    }
    run.request("a-1", proxy=lists)
    rows = ask(
        run.write(),
        "SELECT n, instance, status, connect_s, header_s, response_s FROM attempts ORDER BY n",
    )
    assert [tuple(row.values()) for row in rows] == [
        (1, "api-1", 502, None, None, 0.001),
        (2, "api-2", 504, 0.001, None, 1.0),
        (3, "web-1", None, 0.002, None, 0.002),
        (4, "10.0.0.9:80", 200, 0.003, 0.03, 0.04),
        (5, "", 502, None, None, 0.0),
    ]
    assert one(run, "SELECT attempts, retried FROM requests") == {"attempts": 5, "retried": True}


# What nginx logs of a request that went to the queue and on again, or whose balancer found nobody.
# A state without a peer is empty among the addresses, and parts two groups.
GROUPS: list[tuple[str, str, list[tuple[str, int | None]]]] = [
    (
        "127.0.0.1:8101, 127.0.0.1:8102 : 127.0.0.1:8101",
        "502, 502 : 200",
        [("api-1", 502), ("api-2", 502), ("api-1", 200)],
    ),
    ("api : 127.0.0.1:8101", "502 : 200", [("", 502), ("api-1", 200)]),
    (" : 127.0.0.1:8101", "503 : 200", [("", 503), ("api-1", 200)]),
    ("127.0.0.1:8101 : api", "502 : 502", [("api-1", 502), ("", 502)]),
    ("127.0.0.1:8101 : ", "502 : ", [("api-1", 502), ("", None)]),
    ("127.0.0.1:8101 : ", "502 : -", [("api-1", 502), ("", None)]),
    ("127.0.0.1:8101 : , 127.0.0.1:8102", "502 : -, 200",
     [("api-1", 502), ("", None), ("api-2", 200)]),
    ("-", "-", [("", None)]),
    ("", "503", [("", 503)]),
    ("api", "-", [("", None)]),
]  # fmt: skip


@pytest.mark.parametrize(("addrs", "statuses", "tries"), GROUPS)
def test_groups_are_taken_apart_whoever_was_found(
    run: MadeRun, addrs: str, statuses: str, tries: list[tuple[str, int | None]]
) -> None:
    times = statuses.replace("502", "0.001").replace("503", "0.001").replace("200", "0.001")
    lists = {"connect": times, "header": times, "response": times}
    run.request("a-1", proxy={"addrs": addrs, "statuses": statuses} | lists)
    rows = ask(run.write(), "SELECT n, instance, status FROM attempts ORDER BY n")
    assert [row.pop("n") for row in rows] == list(range(1, len(tries) + 1))
    assert [tuple(row.values()) for row in rows] == tries
    found = one(run, "SELECT attempts, retried FROM requests")
    instances = {instance for instance, _ in tries} - {""}
    assert found == {"attempts": len(tries), "retried": len(instances) > 1}


def test_the_seconds_in_the_queue_are_the_requests_own(run: MadeRun) -> None:
    run.request("a-1", proxy={"queued": 0.75})
    run.request("a-1.1", client=None, proxy={"queued": 2.0})
    assert one(run, "SELECT queued_s FROM requests") == {"queued_s": 0.75}


def test_without_a_queue_nginx_writes_nothing_of_it(run: MadeRun) -> None:
    run.request("a-1")
    folder = run.write()
    text = folder.proxy_rows.read_text()
    folder.proxy_rows.write_text(text.replace(',"queued":0.0,"gave_up":""', ""))
    assert "queued" not in folder.proxy_rows.read_text()
    assert ask(folder, "SELECT queued, gave_up FROM proxy") == [{"queued": 0.0, "gave_up": ""}]


def test_the_account_knows_whether_a_watchdog_watched(run: MadeRun) -> None:
    question = "SELECT value FROM account WHERE key = 'watch_rows'"
    assert one(run, question) == {"value": 0}
    run.watch(108.0, "exit", "api-1", "pid 8101")
    assert one(run, question) == {"value": 1}
    run.write().watch_rows.unlink()
    run.watched = False
    assert one(run, question) == {"value": None}


def test_what_nginx_answers_itself_has_no_attempt(run: MadeRun) -> None:
    run.request("a-1", proxy=attempts([]))
    assert ask(run.write(), "FROM attempts") == []
    assert one(run, "SELECT attempts, retried FROM requests") == {"attempts": 0, "retried": False}


def test_a_request_was_retried_when_it_was_at_two_instances(run: MadeRun) -> None:
    run.request("stayed", failed=[Failed("api-1")])
    run.request("moved", failed=[Failed("api-2")])
    run.request("found nobody", failed=[Failed("api")])
    assert one(run, "SELECT id FROM requests WHERE retried") == {"id": "moved"}


def test_an_execution_is_named_by_boot_and_number(run: MadeRun) -> None:
    for instance in ("api-1", "api-2"):
        begun = run.begin("a-1", instance=instance, n=7, t=103.1, key="k")
        run.end(begun, t=103.2, status=201, effect="applied", fault="slow")
    run.begin("a-2", n=8, t=103.3)
    rows = ask(
        run.write(), "SELECT boot, n, id, began, ended, status, effect, fault FROM executions"
    )
    assert sorted(tuple(row.values()) for row in rows) == [
        (boot("api-1"), 7, "a-1", 103.1, 103.2, 201, "applied", "slow"),
        (boot("api-1"), 8, "a-2", 103.3, None, None, "", ""),
        (boot("api-2"), 7, "a-1", 103.1, 103.2, 201, "applied", "slow"),
    ]


def test_an_end_whose_begin_came_before_the_run_is_nothing(run: MadeRun) -> None:
    run.end(run.begin("a-1"))
    del run.services[0]
    assert ask(run.write(), "FROM executions") == []


def test_everything_is_counted_under_its_own_id(run: MadeRun) -> None:
    run.request("a-1", effect="create")
    for instance in ("api-3", "api-4"):
        run.end(run.begin("a-1", instance=instance), effect="replayed")
    run.proxy("a-1", proxy_id="another")
    run.request("a-1.1", effect="create", client=None)
    run.request("somebody-else", effect="create", client=None)
    columns = "proxy_rows, attempts, executions, effects, replays"
    assert one(run, f"SELECT {columns} FROM requests") == {
        "proxy_rows": 2,
        "attempts": 2,
        "executions": 3,
        "effects": 1,
        "replays": 2,
    }


def test_a_sub_request_belongs_to_its_root(run: MadeRun) -> None:
    run.request("a-1.2.1", effect="create", client=None)
    folder = run.write()
    for table in ("proxy", "attempts", "executions", "effects"):
        assert ask(folder, f"SELECT root FROM {table}") == [{"root": "a-1"}], table


def test_a_client_row_is_one_request_also_when_its_id_is_not_its_own(run: MadeRun) -> None:
    run.request("a-1")
    run.client("a-1", status=502)
    rows = ask(run.write(), "SELECT seq, status, cause FROM requests ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [(1, 200, ""), (2, 502, "unexplained")]


def test_the_class_is_the_proxys(run: MadeRun) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PURGE"):
        run.client(method, method=method)
        run.client(f"{method} with a key", method=method, key="key-1")
    rows = ask(
        run.write(), "SELECT id, keyed FROM requests WHERE class = 'non_retryable' ORDER BY id"
    )
    assert rows == [
        {"id": "PATCH", "keyed": False},
        {"id": "POST", "keyed": False},
        {"id": "PURGE", "keyed": False},
        {"id": "PURGE with a key", "keyed": True},
    ]


def test_a_request_belongs_to_the_phase_in_which_it_was_planned(run: MadeRun) -> None:
    for planned in (99.9, 100.0, 106.999, 107.0, 132.9, 133.0):
        run.client(f"at-{planned}", planned=planned, sent=120.0, done=140.0)
    rows = ask(run.write(), "SELECT phase FROM requests ORDER BY seq")
    assert [row["phase"] for row in rows] == ["", "warmup", "baseline", "faults", "recovery", ""]


def test_phases_follow_each_other(run: MadeRun) -> None:
    rows = ask(run.write(), "SELECT name, began, ended FROM phases ORDER BY began")
    assert [tuple(row.values()) for row in rows] == [
        ("warmup", 100.0, 102.0),
        ("baseline", 102.0, 107.0),
        ("faults", 107.0, 127.0),
        ("recovery", 127.0, 133.0),
    ]


def test_a_run_that_was_cut_short_ends_with_what_was_last_seen(tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.phases(recovery=None, end=None)
    run.state("api-1", 108.0, "dead")
    run.request("a-1", at=111.0, took=1.0)
    rows = ask(run.write(), "SELECT name, ended FROM phases ORDER BY began")
    assert [tuple(row.values()) for row in rows] == [
        ("warmup", 102.0),
        ("baseline", 107.0),
        ("faults", 112.0),
    ]
    assert one(run, "SELECT ended FROM states") == {"ended": 112.0}


def test_a_run_begins_and_ends_with_whatever_is_first_and_last(tmp_path: Path) -> None:
    question = "SELECT key, value FROM account WHERE key IN ('began', 'ended') ORDER BY key"
    run = MadeRun(tmp_path)
    run.phases(recovery=None, end=None)
    run.state("api-1", 140.0, "up")
    run.request("a-1", at=110.0)
    assert [row["value"] for row in ask(run.write(), question)] == [100.0, 140.0]
    run.request("a-2", at=98.0)
    run.request("a-3", at=150.0, took=1.0)
    assert [row["value"] for row in ask(run.write(), question)] == [98.0, 151.0]


def test_an_injection_is_one_row_whatever_became_of_it(run: MadeRun) -> None:
    run.injection(1, "kill", "api-1", 108.0)
    run.injection(2, "hang", "api-2", 109.0, confirmed=None, heal=None, healed=None, failed="no")
    run.injection(3, "kill", "api-3", 110.0, skipped="is dead already")
    run.injection(4, "slow", "api-4", 111.0, healed=None)
    rows = ask(run.write(), "FROM injections ORDER BY n")
    assert [tuple(row.values()) for row in rows] == [
        (1, "kill", "api-1", 108.0, 108.01, 108.02, 108.03, False, False, "proved", ""),
        (2, "hang", "api-2", 109.0, None, None, None, True, False, "", "no"),
        (3, "kill", "api-3", 110.0, None, None, None, False, True, "", "is dead already"),
        (4, "slow", "api-4", 111.0, 111.01, 111.02, None, False, False, "proved", ""),
    ]


def test_a_state_lasts_until_another_one_is_seen(run: MadeRun) -> None:
    for at, state in (
        (100.0, "up"),
        (101.0, "up"),
        (108.0, "dead"),
        (109.0, "up"),
        (134.0, "dead"),
    ):
        run.state("api-1", at, state)
    run.state("api-2", 100.0, "stopped")
    rows = ask(run.write(), "SELECT * FROM states ORDER BY instance, began")
    assert [tuple(row.values()) for row in rows] == [
        ("api-1", "up", 100.0, 108.0),
        ("api-1", "dead", 108.0, 109.0),
        ("api-1", "up", 109.0, 134.0),
        ("api-1", "dead", 134.0, 134.0),
        ("api-2", "stopped", 100.0, 133.0),
    ]


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("proxy", "gave_up", GaveUp),
        ("events", "kind", EventKind),
        ("watch", "kind", WatchKind),
    ],
)
def test_a_closed_set_of_rows_is_the_same_in_the_account(
    table: str, column: str, words: Any
) -> None:
    """A word that only the writer knows would make a whole run unreadable."""
    sql = Path("bulkhead/accounting/sql/10-tables.sql").read_text()
    made = sql.partition(f"CREATE TABLE {table} (")[2].partition(";")[0]
    found = re.search(rf"\b{column} VARCHAR[^,]*CHECK\s*\(\s*{column} IN \(([^)]*)\)", made)
    assert found, f"{table}.{column} has no CHECK"
    assert set(re.findall(r"'(\w*)'", found[1])) == set(get_args(words))
