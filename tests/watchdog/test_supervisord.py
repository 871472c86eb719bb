"""supervisord itself is killed or stopped."""

import json
import os
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals

import pytest

from bulkhead import proc
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.watchdog.supervisor import listener
from tests.watchdog.harness import Little, Service, little, wait_until

pytestmark = pytest.mark.live


def listening(stack: Little) -> int:
    return listener(stack.home.supervisor_socket)


@pytest.mark.parametrize("how", [SIGKILL, SIGSTOP])
def test_another_one_takes_its_place_and_nothing_that_serves_notices(
    tmp_path: Path, how: Signals
) -> None:
    with little(tmp_path, Service("api-1"), Service("web-1", workers=2)) as stack:
        serving = {name: stack.up(name) for name in ("watch", "api-1", "web-1")}
        old = proc.find(listening(stack))
        assert old
        nice = os.getpriority(os.PRIO_PROCESS, old.pid)
        proc.send(old, how)
        wait_until("another one listens", lambda: listening(stack) not in (0, old.pid))
        new = proc.find(listening(stack))
        assert new
        assert stack.row("supervisord", "supervisord").detail == str(new.pid)
        record = json.loads((stack.home.run / "stack.json").read_text())
        assert record == {"pid": new.pid, "start_ticks": new.start_ticks, "source": "kept"}
        found = proc.stat(new.pid)
        assert found
        assert found.session == stack.session
        assert found.parent != serving["watch"].pid
        assert os.getpriority(os.PRIO_PROCESS, new.pid) == nice
        rpc = Supervisord(stack.home.supervisor_socket)
        wait_until(
            "all run", lambda: {one.state for one in rpc.programs()} <= {"RUNNING", "STARTING"}
        )
        assert {name: stack.up(name) for name in serving} == serving
        assert stack.rows("exit") == []
        hangs = [row.target for row in stack.rows("hang")]
        assert hangs == (["supervisord"] if how == SIGSTOP else [])

        # and what dies under the new one is back at once, too
        api = serving["api-1"]
        proc.send(api, SIGKILL)
        stack.up("api-1", than=api)


def test_both_supervisord_and_the_watchdog_are_killed_at_once(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        api, watch = stack.up("api-1"), stack.up("watch")
        old = proc.find(listening(stack))
        assert old
        proc.send(old, SIGKILL)
        proc.send(watch, SIGKILL)
        wait_until("another one listens", lambda: listening(stack) not in (0, old.pid))
        stack.up("watch", than=watch)
        assert stack.up("api-1") == api
        proc.send(api, SIGKILL)
        stack.up("api-1", than=api)
        assert len(stack.rows("supervisord")) == 1
