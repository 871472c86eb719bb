"""The record: whose processes are the stack's, also after its supervisord was replaced."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bulkhead import proc
from bulkhead.proc import Process
from bulkhead.supervise import record
from bulkhead.supervise.record import Record
from bulkhead.testing import wait_until


@pytest.fixture
def session() -> Iterator[Process]:
    """The leader of a session that has two more members, each in a group of its own."""
    script = "set -m; sleep 60 & sleep 60 & wait"
    with subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True) as child:
        try:
            wait_until("three members", lambda: len(proc.session(child.pid)) == 3)
            found = proc.find(child.pid)
            assert found
            yield found
        finally:
            for one in proc.session(child.pid):
                proc.send(one, signal.SIGKILL)


def of(supervisord: Process, first: Process) -> Record:
    return Record(
        supervisord.pid,
        supervisord.start_ticks,
        record.machine(),
        "",
        "",
        {},
        first.pid,
        first.start_ticks,
    )


def test_the_members_are_those_of_the_session_whoever_leads_now(session: Process) -> None:
    second = proc.children(session.pid)[0]
    for leader in (session, second):
        assert of(leader, session).leads()
        assert len(of(leader, session).members()) == 3
    proc.send(session, signal.SIGKILL)
    assert proc.wait_gone(session, 5)
    assert of(second, session).leads()
    assert not of(session, session).leads()
    assert second in of(second, session).members()
    assert len(of(session, session).members()) == 2


def test_another_session_that_has_got_the_number_is_none_of_ours(session: Process) -> None:
    earlier = Process(session.pid, session.start_ticks - 1)
    assert of(earlier, earlier).members() == []
    assert not of(earlier, earlier).leads()
    other = replace(of(session, session), machine="another boot of the machine")
    assert not other.leads()
    assert other.members() == []


def test_a_record_without_a_session_is_of_its_supervisord(session: Process) -> None:
    """As whoever makes one by hand, or an earlier version, leaves it."""
    plain = Record(session.pid, session.start_ticks, record.machine(), "", "", {})
    assert len(plain.members()) == 3
