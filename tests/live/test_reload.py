"""reload and scale: only what differs is replaced, a bad change is refused or taken back."""

import signal
from pathlib import Path

import pytest

from bulkhead.testing import is_free, wait_until
from tests.live.operating import assert_unharmed, changed, pids, start
from tests.support.stack import Stack, unread
from tests.support.trickle import trickle

pytestmark = pytest.mark.live


def test_a_reload_that_was_killed_half_way_is_finished_by_the_next(stack: Stack) -> None:
    before = pids(stack)
    stack.settings.append('services.api.env.PAGE="20"')
    reload = start(stack, "reload")
    wait_until("api-2 is out", (stack.home.drained / "api-2").exists, every_s=0.001)
    reload.kill()
    reload.communicate()
    assert reload.returncode == -signal.SIGKILL
    with trickle(stack.url) as load:
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    after = pids(stack)
    assert changed(before, after) == {"api-1", "api-2"}
    for name in ("api-1", "api-2"):
        assert "PAGE=20" in Path(f"/proc/{after[name]}/environ").read_text().split("\0")
    stack.settings.pop()
    stack.bulkhead("reload")


def test_scaling_up_and_back_loses_no_request(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        said = stack.bulkhead("scale", "api=4").stdout
        up = pids(stack)
        wait_until(
            "the new ones get requests",
            lambda: {"api-3", "api-4"} <= {s.instance for s in load.sent},
        )
        back = stack.bulkhead("scale", "api=2").stdout
    assert_unharmed(stack, load)
    assert changed(before, up) == {"api-3", "api-4"}
    assert "stack.toml says api = 2" not in back
    assert "stack.toml says api = 2: the next reload or restart returns to that" in said
    assert pids(stack) == before
    assert is_free(stack.ports[3])
    assert is_free(stack.ports[4])


def test_a_scale_that_the_topology_does_not_allow_changes_nothing(stack: Stack) -> None:
    before = pids(stack)
    for words, code, complaint in (
        (["api=0"], 3, "services.api.instances = 0: must be at least 1"),
        (["ap=3"], 2, "scale ap: no such service; there are api, web"),
        (["api"], 2, "scale api: must be SERVICE=N"),
        (["api=65"], 3, "services.api.instances = 65: must be at most 64"),
    ):
        done = stack.bulkhead("scale", *words, check=False)
        assert (done.returncode, done.stdout) == (code, ""), words
        assert complaint in done.stderr
    assert pids(stack) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(stack: Stack) -> None:
    before = pids(stack)
    words = ("--set", "services.api.instances=3", "--set", 'services.web.env.PAGE="20"')
    done = stack.bulkhead("reload", "--dry-run", *words)
    assert done.stdout.splitlines()[:2] == [
        "1. add api-3",
        "2. roll web-1, web-2: environment differs",
    ]
    assert "nothing has been changed: a dry run" in done.stdout
    assert pids(stack) == before


def test_a_reload_replaces_only_what_differs_and_loses_no_request(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        stack.settings.append('services.web.env.PAGE="20"')
        stack.bulkhead("reload")
        after = pids(stack)
        stack.settings.pop()
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    assert changed(before, after) == {"web-1", "web-2"}
    assert changed(after, pids(stack)) == {"web-1", "web-2"}


def test_a_reload_of_nginx_alone_loses_no_request(stack: Stack) -> None:
    """Not even one on a connection that nginx closes."""
    before, workers = pids(stack), stack.status()["nginx"]["workers"]
    with trickle(stack.url) as load:
        for seconds in (30, 31, 65):
            done = stack.bulkhead("reload", "--set", f"proxy.keepalive_s={seconds}")
            assert "new workers serve" in done.stdout
    assert_unharmed(stack, load)
    assert pids(stack) == before
    assert not set(workers) & set(stack.status()["nginx"]["workers"])


@pytest.mark.parametrize(
    ("change", "code", "complaint"),
    [
        ("services.api.instances=0", 3, "must be at least 1"),
        ("proxy.connections=2048", 5, "proxy.connections cannot change from 8192 to 2048"),
        ("services.web.port=PORT", 5, "web-1 cannot move from"),
        ("stack.name=another", 5, "stack.name cannot change from test to another"),
    ],
)
def test_a_bad_change_is_refused_before_anything_changes(
    stack: Stack, change: str, code: int, complaint: str
) -> None:
    before = pids(stack)
    files = {path: path.read_text() for path in stack.home.etc.iterdir()}
    change = change.replace("PORT", str(stack.ports[30]))
    done = stack.bulkhead("reload", "--set", change, check=False)
    assert done.returncode == code
    assert complaint in done.stderr
    assert pids(stack) == before
    assert {path: path.read_text() for path in stack.home.etc.iterdir()} == files


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (["services.api.app=tests.support.crash"], "    the database password is missing"),
        (
            ["services.api.app=tests.support.silent", "services.api.boot_s=1"],
            "api-1 was not ready within 1 s",
        ),
    ],
)
def test_a_bad_version_rolls_back_by_itself(
    stack: Stack, version: list[str], complaint: str
) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        words = [word for one in version for word in ("--set", one)]
        done = stack.bulkhead("reload", *words, check=False)
    assert_unharmed(stack, load)
    assert done.returncode == 6
    assert complaint in done.stderr
    assert "what had changed is back as it was, and serves" in done.stderr
    assert changed(before, pids(stack)) == {"api-1"}, "the second has never been touched"


def test_a_bad_version_rolls_back_though_nobody_reads_any_more(stack: Stack) -> None:
    before = pids(stack)
    crash = ("--set", "services.api.app=tests.support.crash")
    with unread() as out:
        done = stack.bulkhead("reload", *crash, check=False, out=out)
    assert done.returncode == 6
    assert "what had changed is back as it was, and serves" in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert changed(before, pids(stack)) == {"api-1"}


def test_a_bad_version_of_new_instances_takes_them_away_again(stack: Stack) -> None:
    before = pids(stack)
    crash = ("services.api.instances=3", "services.api.app=tests.support.crash")
    words = [word for one in crash for word in ("--set", one)]
    assert stack.bulkhead("reload", *words, check=False).returncode == 6
    assert pids(stack) == before
    assert is_free(stack.ports[3])
