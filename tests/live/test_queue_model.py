"""The request queue's model: all orders of what two workers and a few requests do."""

import shutil
import subprocess
from pathlib import Path

import pytest

LUA = Path("nginx/lua")
MODEL = Path("tests/lua/queue_model.lua")

# What the model must notice: a line of the modules, and what it is changed into.
MISTAKES = {
    "who leaves wakes nobody": ("queue.lua", "    M.wake(service)\nend", "end"),
    "a first waiter does not look": ("queue.lua", "left = min(left, POLL_MS)", ""),
    "newcomers do not wait": ("queue.lua", "return service.queue.waiting == 0 and", "return"),
    "limits are not kept": ("queue.lua", "if left <= 0 then", "if false then"),
    "a page's wait counts as busy": ("queue.lua", "max(request.arrived,", "max(request.since,"),
    "nobody may pass": ("queue.lua", "other.may_pass = true", ""),
    "workers take no turns": ("queue.lua", "since - earliest > AHEAD_MS", "false"),
    "a place is taken twice": ("counts.lua", "mine + look(peer) > peer.max", "false"),
    "who leaves stays in": ("queue.lua", "queue.waiting = queue.waiting - 1", ""),
}


@pytest.fixture(scope="module")
def luajit() -> str:
    found = shutil.which("luajit")
    if not found:
        pytest.skip("needs LuaJIT: apt-get install luajit2")
    return found


def test_no_order_of_events_loses_a_request(luajit: str) -> None:
    done = subprocess.run([luajit, MODEL, LUA], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("orders, no violation\n")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_model_notices(luajit: str, mistake: str, tmp_path: Path) -> None:
    name, right, wrong = MISTAKES[mistake]
    shutil.copytree(LUA, tmp_path / "lua")
    text = (LUA / name).read_text()
    assert text.count(right) == 1
    (tmp_path / "lua" / name).write_text(text.replace(right, wrong))
    done = subprocess.run(
        [luajit, MODEL, tmp_path / "lua"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, f"not noticed: {mistake}"
