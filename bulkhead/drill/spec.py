"""drills/NAME.toml -> Drill: a load, a schedule of faults, and the expectations of the stack.

The story of a drill is the comment at the head of its file. All problems are reported at once.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from bulkhead.errors import StateError, UsageError
from bulkhead.faults import contract
from bulkhead.faults.disk import Volume
from bulkhead.judge.expect import Expect
from bulkhead.topology import problems
from bulkhead.topology.model import Line, Section, Topology
from bulkhead.topology.parse import read
from bulkhead.topology.problems import Problem

MOST_WORKERS = 16

Kind = Literal[
    "get", "list", "post_keyed", "post", "put", "patch", "delete", "fanout", "page", "poison"
]  # fmt: skip
Phase = Literal["warmup", "baseline", "faults", "recovery"]
Share = Annotated[int, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Rate = Annotated[float, Field(gt=0, le=100_000)]

is_file = os.path.isfile  # False for a name that no file can have, too

# Reads and every kind of write that a client can protect; pages and fan-outs cross both services.
MIX: dict[Kind, Share] = {
    "get": 40, "list": 5, "post_keyed": 20, "put": 12, "patch": 8, "delete": 5,
    "fanout": 5, "page": 5,
}  # fmt: skip


class LoadSection(Section):
    """The requests and their rate; `rates` are those of phases that have another one.

    `workers` are the processes that send: each has a part of the one schedule. With `give_up_s`
    each client hangs up so long after it has sent its request; that is no failure of the stack.
    """

    locustfile: Annotated[Line, Field(min_length=1)] = "loadtest/openloop.py"
    rate: Rate = 300
    rates: dict[Phase, Rate] = Field(default_factory=dict)
    arrivals: Literal["constant", "poisson"] = "poisson"
    mix: Annotated[dict[Kind, Share], Field(min_length=1)] = MIX
    timeout_s: Annotated[float, Field(ge=0.1, le=120)] = 25
    give_up_s: Annotated[float, Field(ge=0.01, le=120)] | None = None
    connections: Annotated[int, Field(ge=1, le=5000)] = 500
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1


class PhasesSection(Section):
    """How long each phase takes; the faults phase also waits until every fault is healed."""

    warmup_s: Seconds = 2
    baseline_s: Annotated[float, Field(ge=1, le=3600)] = 5
    faults_s: Seconds = 10
    recovery_s: Annotated[float, Field(ge=1, le=3600)] = 5

    @property
    def lengths(self) -> dict[Phase, float]:
        """The length of each phase, in their order."""
        return {phase: getattr(self, f"{phase}_s") for phase in get_args(Phase)}


class FaultSection(Section):
    """A line of the schedule; with `random` chance picks moments, one in `every_s` on average."""

    fault: str
    target: str
    at_s: Seconds = 0
    every_s: Annotated[float, Field(ge=0.05, le=3600)] = 1
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    random: bool = False
    duration_s: Seconds = 0
    params: dict[str, int | float | str | bool] = Field(default_factory=dict)

    @property
    def last_s(self) -> float:
        """When the last injection starts, or by when if chance picks."""
        return self.at_s + (self.times - (not self.random)) * self.every_s


class HostsSection(Section):
    """A stack on several hosts: a proxy, this many application hosts, a database."""

    application: Annotated[int, Field(ge=1, le=8)] = 2


class DrillFile(Section):
    """The whole file. `volumes` are folders of the drill's home that are small disks, in MB.

    Without `hosts` the stack is on one host.
    """

    title: Annotated[Line, Field(min_length=1, max_length=100)]
    predicts: Literal["PASS", "FAIL", "INVALID"]
    settings: list[str] = Field(default_factory=list)
    volumes: dict[Volume, Annotated[int, Field(ge=4, le=1024)]] = Field(default_factory=dict)
    hosts: HostsSection | None = None
    load: LoadSection = LoadSection()
    phases: PhasesSection = PhasesSection()
    faults: list[FaultSection] = Field(default_factory=list)
    expect: Expect = Expect()


class Drill:
    """One drill, checked: its file, its name and its story."""

    def __init__(self, path: Path, file: DrillFile, story: str) -> None:
        self.name = path.stem
        self.path = path
        self.file = file
        self.story = story

    def as_dict(self, seed: int) -> dict[str, object]:
        """The content of drill.json: everything that is needed to judge and to repeat a run."""
        fields = self.file.model_dump(mode="json")
        return {"name": self.name, "story": self.story, "seed": seed, **fields}


def load(path: Path, assignments: Sequence[str] = ()) -> Drill:
    """The drill in `path`, with `drill.load.rate=800` and the like laid over it.

    ConfigError with one line per problem.
    """
    tree = read(path, [assignment.removeprefix("drill.") for assignment in assignments])
    file = problems.validated(DrillFile, tree, path.name)
    problems.refuse(path.name, list(_schedule_problems(file)))
    return Drill(path, file, _story(path.read_text()))


def fits(drill: Drill, topology: Topology) -> None:
    """Raise ConfigError unless everything that a drill names exists in its stack; all at once."""
    problems.refuse(drill.path.name, list(_misfits(drill.file, topology)))


def _misfits(file: DrillFile, topology: Topology) -> Iterator[Problem]:
    for number, line in enumerate(file.faults):
        if problem := _target_problem(file.hosts, line, topology):
            yield f"faults[{number}].target", line.target, problem
    names = [instance.name for instance in topology.instances()]
    for name in file.expect.share or {}:
        if name not in names:
            yield f"expect.share.{name}", None, "no such instance" + problems.near(name, names)
    if file.hosts and file.expect.share:
        yield "expect.share", None, "is about the instances of one host; omit it"
    locustfile = file.load.locustfile
    if not is_file(topology.root / locustfile):
        yield "load.locustfile", locustfile, "there is no such file"


def _target_problem(hosts: HostsSection | None, line: FaultSection, topology: Topology) -> str:
    """The problem of a fault's target on this stack; "" for none."""
    kind = contract.known()[line.fault]
    if hosts is None and kind.on == "hosts":
        return f"{line.fault} is done to a host, and this drill has one: it needs a section [hosts]"
    if hosts and kind.on != "hosts":
        return f"{line.fault} is no fault of hosts, which is all that a drill with [hosts] can do"
    if hosts and line.target in [f"app-{number}" for number in range(hosts.application + 1, 10)]:
        return f"there are {hosts.application} application hosts (hosts.application)"
    return kind.target_problem(line.target, topology)


def available(drill: Drill, site: contract.Site) -> None:
    """Raise StateError, a line each, if this stack and machine cannot be given all its faults."""
    faults = {line.fault: contract.make(line.fault, line.params) for line in drill.file.faults}
    reasons = {name: fault.available(site) for name, fault in faults.items()}
    if missing := [f"{drill.path.name}: {name}: {why}" for name, why in reasons.items() if why]:
        raise StateError(*missing)


def find(words: Path, folder: Path) -> Path:
    """A drill's file, by its path or by its name in the folder of drills.

    UsageError if there is no such drill; with the names of all drills.
    """
    for path in (words, folder / f"{words}.toml"):
        if path.suffix == ".toml" and is_file(path):
            return path
    known = sorted(path.stem for path in folder.glob("*.toml"))
    raise UsageError(f"drill {words}: no such drill{problems.near(words.stem, known)}")


def _schedule_problems(file: DrillFile) -> Iterator[Problem]:
    """Problems across fields: unknown faults, their parameters, times past the end."""
    known = contract.known()
    for number, line in enumerate(file.faults):
        where = f"faults[{number}]"
        if line.fault not in known:
            near = problems.near(line.fault, sorted(known))
            yield f"{where}.fault", line.fault, f"no such fault{near}"
            continue
        try:
            contract.make(line.fault, line.params)
        except contract.BadFault as wrong:
            for problem in wrong.lines:
                yield f"{where}.params", line.params, problem
        if line.last_s > file.phases.faults_s:
            late = "begins (s) after the faults phase has ended (phases.faults_s)"
            yield where, line.last_s, late
    if file.load.workers > file.load.connections:
        yield "load.workers", file.load.workers, "each needs one of load.connections at least"
    if not any(file.load.mix.values()):
        yield "load.mix", file.load.mix, "at least one kind of request must have a share"


def _story(text: str) -> str:
    """The comment at the head of the file, as one text; blank comment lines part paragraphs."""
    lines = takewhile(lambda line: line.startswith("#"), text.lstrip().splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines).strip()
