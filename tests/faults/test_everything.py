"""kill_everything, and clock_step as far as it may be tried."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bulkhead.faults.contract import FaultError, make
from bulkhead.faults.operations import assignments
from bulkhead.supervise import record
from bulkhead.topology.parse import load
from tests.faults.conftest import UNWATCHED
from tests.faults.looking import BrokenError, ended_by, have_ended, site_of
from tests.support.stack import ECHO, ROOT, Stack, running_stack

pytestmark = pytest.mark.live


@pytest.fixture
def unwatched(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path / "home", (*ECHO, *UNWATCHED)) as stack:
        yield stack


@pytest.mark.parametrize("error", [None, BrokenError])
def test_everything_dies_and_the_same_stack_is_up_again(
    unwatched: Stack, error: type[BaseException] | None
) -> None:
    site = site_of(unwatched)
    before = [psutil.Process(one.pid) for one in site.record.members()]
    assert len(before) >= 10
    with ended_by(error), make("kill_everything", {}).injected(site, ()):
        assert have_ended(before)
        if error:
            raise error
    now = record.require(unwatched.home)
    assert now.supervisord != site.record.supervisord
    assert now.topology == site.record.topology
    assert {name for name, one in unwatched.status().items() if one["ready"]} >= {
        "nginx", "api-1", "api-2", "api-3", "api-4", "web-1", "web-2",
    }  # fmt: skip
    assert unwatched.get("/api/").status == 200


def test_settings_are_told_so_that_they_mean_the_same() -> None:
    tree = {
        "stack": {"name": "a", "home": '/tmp/a "b"'},
        "services": {"api": {"weights": [1, 2], "routes": ["/api/"], "env": {"A": "b c"}}},
    }
    assert list(assignments(tree)) == [
        'stack.name="a"',
        'stack.home="/tmp/a \\"b\\""',
        "services.api.weights=[1, 2]",
        'services.api.routes=["/api/"]',
        'services.api.env.A="b c"',
    ]
    shipped = load(ROOT / "stack.toml")
    dumped = shipped.file.model_dump(mode="json", exclude_unset=True)
    assert load(ROOT / "stack.toml", list(assignments(dumped))).file == shipped.file


def test_nobody_sets_the_clock_by_mistake(
    unwatched: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BULKHEAD_ALLOW_CLOCK_STEP", raising=False)
    fault = make("clock_step", {"step_s": 3600.0})
    offset = time.time() - time.monotonic()
    with pytest.raises(FaultError, match="sets the clock of the whole machine"):
        fault.injected(site_of(unwatched), ()).__enter__()
    assert abs(time.time() - time.monotonic() - offset) < 60


@pytest.mark.skipif(
    os.environ.get("BULKHEAD_ALLOW_CLOCK_STEP") != "1", reason="it sets the machine's clock"
)
def test_the_clock_is_set_and_set_back(unwatched: Stack) -> None:
    offset = time.time() - time.monotonic()
    with make("clock_step", {"step_s": -100.0}).injected(site_of(unwatched), ()):
        assert time.time() - time.monotonic() - offset == pytest.approx(-100, abs=1)
    assert time.time() - time.monotonic() - offset == pytest.approx(0, abs=1)
