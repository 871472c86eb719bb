"""A load ends when the process that started it is killed: no one else would end it."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving

pytestmark = pytest.mark.live

# A shell that starts the load, says so in the load's settings, and waits for it.
DRIVER = ("sh", "-c", 'sed -i "s/PARENT/$$/" "$BULKHEAD_LOAD_SETTINGS"; "$@" & wait', "driver")


def test_when_the_driver_is_killed_the_load_ends_in_an_orderly_way(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving(("/late",)) as server:
        asked = {"proxy_url": server.url, "rows": rows_file, "arrivals": "constant"}
        asked |= {"rate": 50, "load_s": 100, "mix": {"list": 1}, "parent_pid": "PARENT"}
        settings = tmp_path / "settings.json"
        env = running.environment(settings, asked)
        settings.write_text(settings.read_text().replace('"PARENT"', "PARENT"))
        with subprocess.Popen(
            [*DRIVER, *running.command(running.OPEN, "--headless", "--only-summary")],
            env=env,
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
    gone = os.getpid() + 1
    with Misbehaving(("/ok",)) as server:
        asked = {"proxy_url": server.url, "parent_pid": gone}
        done = running.locust(locustfile, "-t", "5s", settings=asked)
    assert done.stderr == f"parent_pid = {gone}: must be the parent's, which is {os.getpid()}\n"
    assert done.returncode == 1
    assert server.seen == []
