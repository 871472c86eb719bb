"""The names and parameters of faults, what an injection promises, and that docs tell of it all."""

import os
import re
import signal
import threading
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from bulkhead.control import process, record
from bulkhead.faults import operator
from bulkhead.faults.base import BadFault, Fault, FaultError, Site, Steps, Targets, known, make
from bulkhead.faults.proof import held, undone
from bulkhead.render.paths import Home
from bulkhead.topology.load import load
from tests.faults.looking import BrokenError
from tests.support.waiting import wait_until

PAGE = Path("docs/faults.md").read_text()

NAMES = [
    "accept_queue", "busy", "busy_worker", "clock_step", "crash_at_boot", "descriptors",
    "disk_full", "errors", "hang", "hang_worker", "host_cut", "host_freeze", "host_kill",
    "host_reboot", "host_slow", "kill", "kill_everything", "kill_master",
    "kill_nginx", "kill_supervisord", "kill_watch", "kill_worker", "memory", "nginx_descriptors",
    "nginx_reload", "nginx_worker", "noop", "refuse", "roll", "rotate", "scale", "slow", "term",
    "upgrade_nginx",
]  # fmt: skip


def test_every_fault_is_known_by_its_name_and_lives_in_a_file_of_that_name() -> None:
    assert list(known()) == NAMES
    for name, kind in known().items():
        assert (kind.name, kind.__module__) == (name, f"bulkhead.faults.{name}")
        lines = len(Path(f"bulkhead/faults/{name}.py").read_text().splitlines())
        assert lines <= 90, f"{name}: {lines} lines"


def test_every_number_has_its_unit_in_its_name() -> None:
    for name, kind in known().items():
        for parameter, field in kind.Params.model_fields.items():
            if field.annotation not in (int, float):
                continue
            assert re.search(r"_(s|ms|mb|instances)$|^(share|status|index)$", parameter), (
                name,
                parameter,
            )


def test_what_gives_commands_is_waited_for_as_long_as_they_may_take() -> None:
    given = {}
    for name, kind in known().items():
        count = Path(f"bulkhead/faults/{name}.py").read_text().count("operator.command(")
        if count:
            given[name] = count
            assert kind.patience_s >= Fault.patience_s + count * operator.LONGEST_S, name
    assert given == {"kill_everything": 1, "roll": 1, "rotate": 1, "scale": 2, "upgrade_nginx": 1}


def test_the_page_of_faults_has_a_row_for_each_with_its_parameters_and_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) (?:\|[^|]+){3}\|$", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == NAMES
    for name, told in rows:
        fields = known()[name].Params.model_fields
        wanted = {
            parameter: "required" if field.is_required() else str(field.default).lower()
            for parameter, field in fields.items()
        }
        assert dict(re.findall(r"`(\w+)` \((required|false|[\d.]+)", told)) == wanted, name
        assert told == "none" or wanted, name


def test_made_faults_have_their_defaults() -> None:
    assert make("kill", {}).params.model_dump() == {"freeze_s": 0.0}
    assert make("slow", {"slow_ms": 20}).params.model_dump() == {"slow_ms": 20.0, "share": 1.0}


@pytest.mark.parametrize(
    ("name", "params", "lines"),
    [
        ("kil", {}, [f"kil: no such fault; did you mean kill? (known: {', '.join(NAMES)})"]),
        (
            "kill",
            {"freeze_s": -1, "freez_s": 1},
            [
                "kill: freeze_s = -1: must be at least 0.0",
                "kill: freez_s = 1: unknown key; did you mean freeze_s? (known: freeze_s)",
            ],
        ),
        (
            "slow",
            {"share": 0},
            ["slow: slow_ms: is missing", "slow: share = 0: must be greater than 0.0"],
        ),
        ("errors", {"status": "503"}, ['errors: status = "503": must be a whole number']),
        ("errors", {"share": True}, ["errors: share = true: must be a number"]),
        ("hang", {"x_s": 1}, ["hang: x_s: it takes no parameters"]),
    ],
)
def test_every_mistake_is_told_in_a_line_of_its_own(
    name: str, params: dict[str, object], lines: list[str]
) -> None:
    with pytest.raises(BadFault) as caught:
        make(name, params)
    assert list(caught.value.lines) == lines
    assert isinstance(caught.value, ValueError)


class Told(Fault):
    """A fault that writes down what is done with it; `takes_hold` and `can_be_undone` at will."""

    name = "told"

    class Params(Fault.Params):
        takes_hold: bool = True
        can_be_undone: bool = True
        wait_s: Annotated[float, Field(ge=0)] = 0.1

    params: Params
    said: list[str]

    def heal(self, site: Site, targets: Targets) -> None:  # noqa: ARG002 - only noted
        self.said.append("healed")

    def hold(self, site: Site, targets: Targets) -> Steps:
        told = self.params
        try:
            self.said.append("done")
            held(site, "it is there", lambda: told.takes_hold, told.wait_s)
            yield "it is there"
        finally:
            self.heal(site, targets)
            undone("must be well", targets, lambda _: told.can_be_undone, told.wait_s)
        return "it is gone"


def told(**params: bool | float) -> Told:
    fault = Told(Told.Params.model_validate(params))
    fault.said = []
    return fault


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A stack that is said to be led by this very process: nothing is done to it."""
    me = process.find(os.getpid())
    assert me
    running = record.Record(me.pid, me.start_ticks, record.machine(), "", "", {})
    return Site(Home(tmp_path), load(Path("stack.toml")), running)


@pytest.fixture
def targets(site: Site) -> Targets:
    return tuple(site.topology.instances("api")[:2])


def test_an_injection_heals_first_then_proves_both_ends(site: Site, targets: Targets) -> None:
    fault = told()
    injected = fault.inject(site, targets)
    assert fault.said == []
    with injected as proof:
        assert (proof, injected.undone) == ("it is there", "")
        assert fault.said == ["healed", "done"]
    assert injected.undone == "it is gone"
    assert fault.said == ["healed", "done", "healed"]


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_block_it_is_undone_and_goes_on(
    site: Site, targets: Targets, error: type[BaseException]
) -> None:
    fault = told()
    with pytest.raises(error), fault.inject(site, targets):
        raise error
    assert fault.said == ["healed", "done", "healed"]


def test_what_does_not_take_hold_is_undone_and_says_what_was_awaited(
    site: Site, targets: Targets
) -> None:
    fault = told(takes_hold=False)
    message = r"^did not take hold within 0\.1 s: it is there$"
    with pytest.raises(FaultError, match=message), fault.inject(site, targets):
        pytest.fail("the block must not run")
    assert fault.said == ["healed", "done", "healed"]


@pytest.mark.parametrize("error", [None, BrokenError, KeyboardInterrupt])
def test_what_cannot_be_undone_says_of_which_targets(
    site: Site, targets: Targets, error: type[BaseException] | None
) -> None:
    message = r"^not undone within 0\.1 s: api-1, api-2 must be well$"
    injected = told(can_be_undone=False).inject(site, targets)
    injected.__enter__()
    with pytest.raises(FaultError, match=message) as caught:
        injected.__exit__(error, error() if error else None, None)
    assert error is None or isinstance(caught.value.__context__, error)


def test_nothing_to_do_it_to_is_an_error_and_not_a_success(site: Site) -> None:
    fault = told()
    with pytest.raises(FaultError, match="told: there is nothing to do it to"):
        fault.inject(site, ()).__enter__()
    assert fault.said == []


def test_the_end_of_the_run_cuts_only_the_wait_for_the_hold_short(
    site: Site, targets: Targets
) -> None:
    fault = told(takes_hold=False, wait_s=3600.0)
    said: list[str] = []

    def injecting() -> None:
        try:
            fault.inject(site, targets).__enter__()
        except FaultError as error:
            said.append(str(error))

    thread = threading.Thread(target=injecting, daemon=True)
    thread.start()
    wait_until("the fault is done", lambda: "done" in fault.said)
    site.ending.set()
    thread.join(10)
    assert said == ["did not take hold before the run ended: it is there"]
    assert fault.said == ["healed", "done", "healed"]


def test_ctrl_c_ends_the_wait_for_the_hold_and_undoes(site: Site, targets: Targets) -> None:
    fault = told(takes_hold=False, wait_s=3600.0)
    main = threading.main_thread().ident
    assert main

    def interrupt() -> None:
        wait_until("the fault is done", lambda: "done" in fault.said)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fault.inject(site, targets).__enter__()
    thread.join(10)
    assert fault.said == ["healed", "done", "healed"]
