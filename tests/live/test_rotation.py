"""Files of rows are set aside by their size, by the watchdog."""

from pathlib import Path

import pytest

from bulkhead.operate.reopen import all_rows_wanted
from bulkhead.testing import wait_until
from tests.support.stack import ECHO, Stack, running_stack

pytestmark = pytest.mark.live

MB = 1 << 20


def test_the_watchdog_sets_large_files_aside(tmp_path: Path) -> None:
    with running_stack(
        tmp_path / "home", (*ECHO, "stack.rows_max_mb=1", "stack.rows_keep=2")
    ) as stack:
        rows = stack.home.proxy_rows
        older = [rows.with_name(f"{rows.name}.{number}") for number in (1, 2, 3)]
        with all_rows_wanted(stack.home), rows.open("a") as file:
            file.write("\n" * (MB + 1))
        for number in range(3):
            set_aside(stack, times=number + 1)
            request(stack, f"request-{number}")
            with rows.open("a") as file:
                file.write("\n" * (MB + 1))
        set_aside(stack, times=4)
        assert "request-2" in older[0].read_text()
        assert "request-1" in older[1].read_text()
        assert not older[2].exists(), "as many are kept as the settings say"


def set_aside(stack: Stack, times: int) -> None:
    """Wait for the watchdog's word, which comes when nginx's workers have opened the new file too.

    The name alone is not enough: a worker that has not yet opened it writes into the old one.
    """
    log = stack.home.log / "watch.log"
    wait_until(
        f"set aside {times} times",
        lambda: log.read_text().count("is now proxy.jsonl.1") == times,
        30,
    )


def request(stack: Stack, name: str) -> None:
    """One request, whose row is written."""
    rows = stack.home.proxy_rows
    assert stack.get("/api/x", headers={"X-Request-ID": name}).status == 200
    wait_until("its row", lambda: rows.exists() and name in rows.read_text())
