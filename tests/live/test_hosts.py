"""A stack of three hosts, each at a loopback address of its own: a proxy and two with instances.

What a host of its own adds is silence: nobody there can say any more that something has died.
"""

import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from bulkhead import peer_table, proc
from bulkhead.proc import Process
from bulkhead.records import WatchRow
from bulkhead.supervise import record
from bulkhead.testing import free_ports, wait_until
from bulkhead.watchdog.hosts import SILENT_S
from tests.support import databases
from tests.support.rows import rows_so_far
from tests.support.stack import Stack
from tests.support.trickle import Sent, trickle

pytestmark = pytest.mark.live

NAMES = ("a", "b")


@dataclass
class Hosts:
    """The proxy's host and the application hosts, by name."""

    proxy: Stack
    others: dict[str, Stack]

    def states(self, name: str) -> set[str]:
        """What nginx believes of the instances of one host."""
        found = peer_table.read(self.proxy.home.internal_socket)
        return {one.state for one in found if one.name.endswith(f".{name}")}

    def all_up(self) -> bool:
        """Whether nginx knows every instance, and believes all of them up."""
        found = peer_table.read(self.proxy.home.internal_socket)
        return [one.state for one in found] == ["up"] * 3 * len(NAMES)

    def kill(self, name: str) -> None:
        """SIGKILL of everything on a host, which is stopped first: nobody starts anything again."""
        self.send(name, signal.SIGSTOP)
        wait_until("nothing is left of it", lambda: not self.send(name, signal.SIGKILL))

    def send(self, name: str, number: signal.Signals) -> list[Process]:
        """A signal to everything that runs on a host, which is returned."""
        found = record.read(self.others[name].home)
        assert found
        members = found.members()
        for one in members:
            proc.send(one, number)
        return members


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """All of them up."""
    folder = tmp_path_factory.mktemp("h")
    key, session_key = folder / "key", folder / "session_key"
    for path in (key, session_key):
        path.write_text(secrets.token_hex(32))
    with ExitStack() as stack:
        server = stack.enter_context(databases.running("postgresql"))
        server.sql("CREATE DATABASE ledger")
        ledger = server.settings("ledger")
        ear = stack.enter_context(free_ports())[0]
        ports = stack.enter_context(free_ports())
        common = [
            f"hosts.key_file={key}",
            f"stack.ledger_url={ledger['ledger_url']}",
            f"stack.ledger_password_file={ledger['ledger_password_file']}",
            f"stack.session_key_file={session_key}",
            "services.api.instances=2", "services.web.instances=1",
        ]  # fmt: skip
        proxy = Stack(
            folder / "p", ports, [*common, "hosts.role=proxy", f"hosts.hear=127.0.0.1:{ear}"]
        )
        others = {
            name: Stack(
                folder / name, ports,
                [
                    *common, "hosts.role=application", f"hosts.name={name}",
                    f'hosts.tell=["localhost:{ear}"]', f"hosts.url={proxy.url}",
                    f"services.api.host=127.0.0.{number}", f"services.web.host=127.0.0.{number}",
                ],
            )
            for number, name in enumerate(NAMES, 2)
        }  # fmt: skip
        hosts = Hosts(proxy, others)
        for one in (proxy, *others.values()):
            stack.callback(one.bulkhead, "down")
            one.bulkhead("up")
        wait_until("nginx knows all of them", hosts.all_up)
        yield hosts


def test_a_host_dies_and_comes_back(hosts: Hosts) -> None:
    """Nobody says that it has died; its silence does, and requests go elsewhere."""
    with trickle(hosts.proxy.url) as load:
        wait_until("both are used", lambda: used(load.sent) == set(NAMES))
        hosts.kill("a")
        wait_until("its silence is noticed", lambda: hosts.states("a") == {"down"}, 5 * SILENT_S)
        assert hosts.states("b") == {"up"}
        hosts.others["a"].bulkhead("up")
        wait_until("it is used again", hosts.all_up)
        before = len(load.sent)
        wait_until("both are used again", lambda: used(load.sent[before:]) == set(NAMES))
    # What the dead host had in hand and may not be sent twice is lost with it.
    assert [one for one in load.failures if not one.name.startswith("non_retryable")] == []
    said = [row.detail for row in watched(hosts) if row.target == "a"]
    assert said[0] == "heard for the first time"
    words = iter(line.split(" ")[0] for line in said[1:])  # on a busy machine silent more than once
    assert all(one in words for one in ("silent", "another", "heard")), said


def test_a_frozen_host_is_as_good_as_dead(hosts: Hosts) -> None:
    hosts.send("b", signal.SIGSTOP)
    wait_until("its silence is noticed", lambda: hosts.states("b") == {"down"}, 5 * SILENT_S)
    answers = [hosts.proxy.get("/api/v1/whoami") for _ in range(6)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["X-Instance"][-2:] for answer in answers} == {".a"}
    hosts.send("b", signal.SIGCONT)
    wait_until("it is back", hosts.all_up)


def test_each_host_answers_for_itself(hosts: Hosts) -> None:
    status = hosts.others["a"].status()
    assert [name for name in status if "." in name] == ["api-1.a", "api-2.a", "web-1.a"]
    assert all(one["ready"] for one in status.values())
    assert "nginx" not in status
    assert set(hosts.proxy.status()) == {"supervisord", "watch", "nginx"}
    for words in (["roll", "api"], ["scale", "api=3"], ["reload"]):
        refused = hosts.others["a"].bulkhead(*words, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (5, 1), refused.stderr
        assert "one host of several" in refused.stderr
    refused = hosts.others["a"].bulkhead("load", "--time", "1", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1), refused.stderr
    assert "one host of several" in refused.stderr
    refused = hosts.others["a"].bulkhead("upgrade", "nginx", check=False)
    assert "this host has no nginx" in refused.stderr


def used(sent: Sequence[Sent]) -> set[str]:
    """The hosts that have answered."""
    return {one.instance.rpartition(".")[2] for one in sent} & set(NAMES)


def watched(hosts: Hosts) -> list[WatchRow]:
    rows = rows_so_far(hosts.proxy.home.watch_rows, WatchRow)
    return [row for row in rows if row.kind == "host"]
