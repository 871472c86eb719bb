"""The names and parameters of faults, what an injection promises, and that docs tell of it all."""

import inspect
import os
import re
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.faults import operations
from bulkhead.faults.contract import (
    BadFault,
    Fault,
    FaultError,
    Site,
    Steps,
    Targets,
    confirmed,
    healed,
    known,
    make,
)
from bulkhead.render.paths import Home
from bulkhead.supervise import record
from bulkhead.testing import wait_until
from bulkhead.topology.parse import load
from tests.faults.looking import BrokenError

PAGE = Path("docs/faults.md").read_text()

NAMES = [
    "accept_queue", "busy", "busy_worker", "clock_step", "crash_at_boot", "descriptors",
    "disk_full", "errors", "hang", "hang_worker", "host_cut", "host_freeze", "host_kill",
    "host_reboot", "host_slow", "kill", "kill_everything", "kill_master",
    "kill_nginx", "kill_supervisord", "kill_watch", "kill_worker", "memory", "nginx_descriptors",
    "nginx_reload", "nginx_worker", "noop", "poison", "refuse", "roll", "rotate", "scale", "slow",
    "term", "upgrade_nginx",
]  # fmt: skip


def test_every_fault_is_known_by_its_name() -> None:
    assert list(known()) == NAMES
    assert [kind.name for kind in known().values()] == NAMES


def test_every_number_has_its_unit_in_its_name() -> None:
    for name, kind in known().items():
        for parameter, shape in kind.model.model_fields.items():
            if shape.annotation not in (int, float):
                continue
            assert re.search(r"_(s|ms|mb|instances)$|^(share|status|index)$", parameter), (
                name,
                parameter,
            )


def test_what_gives_commands_is_waited_for_as_long_as_they_may_take() -> None:
    given = {}
    for name, kind in known().items():
        sources = (inspect.getsource(step) for step in (kind.inject, kind.undo))
        count = sum(len(re.findall(r"(?<!def )\bcommand\(", source)) for source in sources)
        if count:
            given[name] = count
            assert kind.patience_s >= Fault.patience_s + count * operations.LONGEST_S, name
    assert given == {"kill_everything": 1, "roll": 1, "rotate": 1, "scale": 2, "upgrade_nginx": 1}


def test_the_page_of_faults_has_a_row_for_each_with_its_parameters_and_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) (?:\|[^|]+){3}\|$", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == NAMES
    for name, told in rows:
        fields = known()[name].model.model_fields
        wanted = {
            parameter: "required" if field.is_required() else str(field.default).lower()
            for parameter, field in fields.items()
        }
        assert dict(re.findall(r"`(\w+)` \((required|false|[\d.]+)", told)) == wanted, name
        assert told == "none" or wanted, name


def test_made_faults_have_their_defaults() -> None:
    assert make("kill", {}).params == {"freeze_s": 0.0}
    assert make("slow", {"slow_ms": 20}).params == {"slow_ms": 20.0, "share": 1.0}


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


@dataclass(frozen=True)
class Told(Fault):
    """A fault that notes in `said` what is done with it."""

    said: list[str] = field(default_factory=list)


def told(takes_hold: bool = True, can_be_healed: bool = True, wait_s: float = 0.1) -> Told:
    said: list[str] = []

    def heal() -> None:
        said.append("healed")

    def inject(site: Site, targets: Targets) -> Steps:
        try:
            said.append("done")
            confirmed(site, "it is there", lambda: takes_hold, wait_s)
            yield "it is there"
        finally:
            heal()
            healed("must be well", targets, lambda _: can_be_healed, wait_s)
        return "it is gone"

    return Told("told", inject, undo=heal, said=said)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A stack that is said to be led by this very process: nothing is done to it."""
    me = proc.find(os.getpid())
    assert me
    running = record.Record(me.pid, me.start_ticks, record.machine(), "", "", {})
    return Site(Home(tmp_path), load(Path("stack.toml")), running)


@pytest.fixture
def targets(site: Site) -> Targets:
    return tuple(site.topology.instances("api")[:2])


def test_an_injection_heals_first_then_proves_both_ends(site: Site, targets: Targets) -> None:
    fault = told()
    injected = fault.injected(site, targets)
    assert fault.said == []
    with injected as proof:
        assert (proof, injected.healed) == ("it is there", "")
        assert fault.said == ["healed", "done"]
    assert injected.healed == "it is gone"
    assert fault.said == ["healed", "done", "healed"]


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_block_it_is_healed_and_goes_on(
    site: Site, targets: Targets, error: type[BaseException]
) -> None:
    fault = told()
    with pytest.raises(error), fault.injected(site, targets):
        raise error
    assert fault.said == ["healed", "done", "healed"]


def test_what_does_not_take_hold_is_healed_and_says_what_was_awaited(
    site: Site, targets: Targets
) -> None:
    fault = told(takes_hold=False)
    message = r"^was not confirmed within 0\.1 s: it is there$"
    with pytest.raises(FaultError, match=message), fault.injected(site, targets):
        pytest.fail("the block must not run")
    assert fault.said == ["healed", "done", "healed"]


@pytest.mark.parametrize("error", [None, BrokenError, KeyboardInterrupt])
def test_what_cannot_be_healed_says_of_which_targets(
    site: Site, targets: Targets, error: type[BaseException] | None
) -> None:
    message = r"^not healed within 0\.1 s: api-1, api-2 must be well$"
    injected = told(can_be_healed=False).injected(site, targets)
    injected.__enter__()
    with pytest.raises(FaultError, match=message) as caught:
        injected.__exit__(error, error() if error else None, None)
    assert error is None or isinstance(caught.value.__context__, error)


def test_nothing_to_do_it_to_is_an_error_and_not_a_success(site: Site) -> None:
    fault = told()
    with pytest.raises(FaultError, match="told: there is nothing to do it to"):
        fault.injected(site, ()).__enter__()
    assert fault.said == []


def test_the_end_of_the_run_cuts_only_the_wait_for_the_proof_short(
    site: Site, targets: Targets
) -> None:
    fault = told(takes_hold=False, wait_s=3600.0)
    said: list[str] = []

    def injecting() -> None:
        try:
            fault.injected(site, targets).__enter__()
        except FaultError as error:
            said.append(str(error))

    thread = threading.Thread(target=injecting, daemon=True)
    thread.start()
    wait_until("the fault is done", lambda: "done" in fault.said)
    site.ending.set()
    thread.join(10)
    assert said == ["was not confirmed before the run ended: it is there"]
    assert fault.said == ["healed", "done", "healed"]


def test_ctrl_c_ends_the_wait_for_the_proof_and_heals(site: Site, targets: Targets) -> None:
    fault = told(takes_hold=False, wait_s=3600.0)
    main = threading.main_thread().ident
    assert main

    def interrupt() -> None:
        wait_until("the fault is done", lambda: "done" in fault.said)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fault.injected(site, targets).__enter__()
    thread.join(10)
    assert fault.said == ["healed", "done", "healed"]
