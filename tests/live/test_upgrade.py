"""Another nginx, or its files opened anew, under load; and what all operations have in common."""

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkhead import proc
from bulkhead.supervise import record
from bulkhead.supervise.home import lock
from bulkhead.supervise.nginx import find_nginx
from bulkhead.testing import wait_until
from tests.live.operating import VERBS, assert_unharmed, changed, pids
from tests.support.stack import ECHO, Stack, new_stack
from tests.support.trickle import trickle

pytestmark = pytest.mark.live


def test_another_nginx_takes_over_from_the_one_that_runs(stack: Stack, tmp_path: Path) -> None:
    """Another program at another path, and then other times for supervisord to keep to."""
    program = shutil.copy(find_nginx("nginx", ""), tmp_path / "nginx")
    before = pids(stack)
    with trickle(stack.url) as load:
        said = stack.bulkhead("reload", "--set", f"proxy.program={program}").stdout
        other = pids(stack)
        runs = Path(f"/proc/{other['nginx']}/exe").readlink()
        stack.bulkhead("reload", "--set", "proxy.grace_s=11")
        third = pids(stack)
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    assert "nginx: replaced" in said
    assert runs == Path(program)
    assert (
        changed(before, other) == changed(other, third) == changed(third, pids(stack)) == {"nginx"}
    )


def test_a_new_nginx_that_does_not_start_leaves_the_old_workers_serving(
    stack: Stack, tmp_path: Path
) -> None:
    real = find_nginx("nginx", "")
    program = broken(tmp_path / "nginx", real)
    before = pids(stack)
    with trickle(stack.url) as load:
        done = stack.bulkhead("reload", "--set", f"proxy.program={program}", check=False)
    assert_unharmed(stack, load)
    assert done.returncode == 6
    assert "no new nginx serves within 15 s; 2 of 2 old workers serve on" in done.stderr
    assert "what had changed is back as it was, and serves" in done.stderr
    after = pids(stack)
    assert changed(before, after) == {"nginx"}
    assert Path(f"/proc/{after['nginx']}/exe").readlink() == real.resolve()


def broken(program: Path, real: Path) -> Path:
    """It likes its configuration, says its version, and dies as soon as it is to serve."""
    fresh = program.with_suffix(".new")  # a program that runs cannot be written to
    fresh.write_text(f'#!/bin/sh\ncase "$1" in -t|-v|-V) exec {real} "$@";; esac\nexit 1\n')
    fresh.chmod(0o755)
    return fresh.rename(program)


def test_an_upgrade_to_an_nginx_that_does_not_start_waits_for_a_better_one(
    stack: Stack, tmp_path: Path
) -> None:
    real = find_nginx("nginx", "")
    program = Path(shutil.copy(real, tmp_path / "nginx"))
    stack.bulkhead("reload", "--set", f"proxy.program={program}")
    with trickle(stack.url) as load:
        broken(program, real)
        done = stack.bulkhead("upgrade", "nginx", check=False)
        assert done.returncode == 6
        assert "no new nginx serves within 15 s; 2 of 2 old workers serve on" in done.stderr
        program.unlink()
        shutil.copy(real, program)
        wait_until("it serves", lambda: stack.status()["nginx"]["ready"], timeout_s=30)
        wait_until("the old have gone", lambda: not any(stack.home.orphans.iterdir()), timeout_s=30)
    assert_unharmed(stack, load)
    assert Path(f"/proc/{pids(stack)['nginx']}/exe").readlink() == program
    stack.bulkhead("reload")


def test_an_upgrade_of_nginx_loses_no_request(stack: Stack) -> None:
    before, workers = pids(stack), stack.status()["nginx"]["workers"]
    with trickle(stack.url) as load:
        done = json.loads(stack.bulkhead("upgrade", "nginx", "--json").stdout)
    assert_unharmed(stack, load)
    after = pids(stack)
    assert changed(before, after) == {"nginx"}
    assert (done["old_pid"], done["new_pid"]) == (before["nginx"], after["nginx"])
    assert done["old_version"] == done["new_version"] != ""
    assert [pid for pid in workers if proc.find(pid)] == []


def test_reopened_rows_hold_every_request(stack: Stack) -> None:
    """Three rotations under load: the files together tell of every request, once."""
    with trickle(stack.url) as load:
        for _ in range(3):
            wait_for_more(load.sent)
            stack.bulkhead("reopen", "--keep", "9")
        wait_for_more(load.sent)
    wanted = {load.id(one.number) for one in load.sent}
    assert load.failures == []
    for rows, each in ((stack.home.proxy_rows, 1), (stack.home.service_rows, 2)):
        files = [rows, *(rows.with_name(f"{rows.name}.{number}") for number in (1, 2, 3))]
        assert all(path.stat().st_size for path in files)
        found = wait_until("rows of every request", partial(ids, files, wanted))
        mine = [id_ for id_ in found if id_ in wanted]
        assert len(mine) == each * len(wanted)


def ids(files: list[Path], wanted: set[str]) -> list[str] | None:
    """Whom the rows of these files are of; None while somebody wanted has none."""
    found = [json.loads(line)["id"] for path in files for line in path.read_text().splitlines()]
    return found if wanted <= set(found) else None


def wait_for_more(sent: list[Any]) -> None:
    before = len(sent)
    wait_until("fifty more requests", lambda: len(sent) > before + 50)


def test_one_command_at_a_time(stack: Stack) -> None:
    with lock(stack.home):
        for words in VERBS:
            done = stack.bulkhead(*words, check=False)
            assert (done.returncode, done.stdout) == (5, ""), words
            assert f"another command (pid {os.getpid()}) is changing this stack" in done.stderr


def test_every_verb_refuses_a_stack_that_is_down(tmp_path: Path) -> None:
    with new_stack(tmp_path / "home", ECHO) as stack:
        for words in VERBS:
            done = stack.bulkhead(*words, check=False)
            assert (done.returncode, done.stdout) == (5, ""), words
            assert "is not up: run `make up`" in done.stderr
        assert record.read(stack.home) is None
