"""A load ends when the process that started it is killed: no one else would end it."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live

# A shell that starts the load, says so in the load's environment, and waits for it.
DRIVER = ("sh", "-c", 'BULKHEAD_PARENT_PID=$$ "$@" & wait', "driver")


def test_when_the_driver_is_killed_the_load_ends_in_an_orderly_way(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving(("/late",)) as server:
        asked = {"RATE": 50, "LOAD_S": 100, "MIX": '{"list": 1}'}
        with subprocess.Popen(
            [*DRIVER, *running.command(running.OPEN, "--headless", "--only-summary")],
            env=running.open_environment(server.url, rows_file, **asked),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as driver:
            wait_until("requests", lambda: len(server.seen) > 20, running.BOOT_S)
            driver.kill()
            _, log = driver.communicate(timeout=30)  # until the load has closed its stderr, too
    rows = running.client_rows(rows_file)
    assert f"client rows: {len(rows)} in {rows_file}" in log
    assert server.counts() == Counter(row.id for row in rows)
    assert {(row.status, row.error) for row in rows} == {(200, "")}


@pytest.mark.parametrize("locustfile", [running.OPEN, running.LOCUSTFILE])
def test_a_load_whose_driver_is_gone_before_it_looks_sends_nothing(locustfile: str) -> None:
    gone = str(os.getpid() + 1)
    with Misbehaving(("/ok",)) as server:
        env = {"BULKHEAD_PROXY_URL": server.url, "BULKHEAD_PARENT_PID": gone}
        done = running.locust(locustfile, "-t", "5s", env=env)
    assert done.stderr == (
        f"{locustfile}: BULKHEAD_PARENT_PID = {gone!r}: must be the parent's, "
        f"which is {os.getpid()}\n"
    )
    assert done.returncode == 1
    assert server.seen == []
