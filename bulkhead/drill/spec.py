"""drills/NAME.toml -> Drill: a load, a schedule of faults, and what is expected of the stack.

The story of a drill is the comment at the head of its file: what is done, what a client should see
of it, and why. Every problem of a file is reported at once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from bulkhead.drill.swarm import MOST_WORKERS
from bulkhead.errors import ConfigError, StateError, UsageError
from bulkhead.faults import base
from bulkhead.faults.disk_full import Volume
from bulkhead.faults.hosted import OnHost
from bulkhead.faults.targets import problem as target_problem
from bulkhead.judge.expect import Expect
from bulkhead.topology import problems
from bulkhead.topology.load import assign, read
from bulkhead.topology.model import Section, Topology
from bulkhead.topology.problems import Problem

Kind = Literal[
    "get", "list", "post_keyed", "post", "put", "patch", "delete", "fanout", "page"
]  # fmt: skip
Phase = Literal["warmup", "baseline", "faults", "recovery"]
Share = Annotated[int, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Rate = Annotated[float, Field(gt=0, le=100_000)]

# Reads and every kind of write that a client can protect; pages and fan-outs cross both services.
MIX: dict[Kind, Share] = {
    "get": 40, "list": 5, "post_keyed": 20, "put": 12, "patch": 8, "delete": 5,
    "fanout": 5, "page": 5,
}  # fmt: skip


class LoadSection(Section):
    """Who asks for what, how often; `rates` are those of phases that have another one.

    `workers` is how many processes send it: each a part of the one schedule.
    """

    locustfile: Annotated[str, Field(min_length=1)] = "loadtest/openloop.py"
    rate: Rate = 300
    rates: dict[Phase, Rate] = Field(default_factory=dict)
    arrivals: Literal["constant", "poisson"] = "poisson"
    mix: Annotated[dict[Kind, Share], Field(min_length=1)] = MIX
    timeout_s: Annotated[float, Field(ge=0.1, le=120)] = 25
    connections: Annotated[int, Field(ge=1, le=5000)] = 500
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1


class PhasesSection(Section):
    """How long each phase takes; the faults phase also waits until every fault is undone."""

    warmup_s: Seconds = 2
    baseline_s: Annotated[float, Field(ge=1, le=3600)] = 5
    faults_s: Seconds = 10
    recovery_s: Annotated[float, Field(ge=1, le=3600)] = 5


class FaultSection(Section):
    """One line of the schedule: which fault, on what, from when, how often, for how long.

    With `random` the injections begin at moments that chance picks, one in `every_s` on average.
    """

    fault: str
    target: str
    at_s: Seconds = 0
    every_s: Annotated[float, Field(ge=0.05, le=3600)] = 1
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    random: bool = False
    hold_s: Seconds = 0
    params: dict[str, int | float | str | bool] = Field(default_factory=dict)

    @property
    def last_s(self) -> float:
        """When the last injection begins, or by when if chance picks."""
        return self.at_s + (self.times - (not self.random)) * self.every_s


class HostsSection(Section):
    """A stack on several hosts: a proxy, this many application hosts, a database."""

    application: Annotated[int, Field(ge=1, le=8)] = 2


class DrillFile(Section):
    """The whole file. `volumes` are folders of the drill's home that are small disks, in MB.

    Without `hosts` the stack is on one host.
    """

    title: Annotated[str, Field(min_length=1, max_length=100)]
    predicts: Literal["PASS", "FAIL", "INVALID"]
    settings: list[str] = Field(default_factory=list)
    volumes: dict[Volume, Annotated[int, Field(ge=4, le=1024)]] = Field(default_factory=dict)
    hosts: HostsSection | None = None
    load: LoadSection = LoadSection()
    phases: PhasesSection = PhasesSection()
    faults: list[FaultSection] = Field(default_factory=list)
    expect: Expect = Expect()


SECTIONS: dict[str, type[BaseModel]] = {
    "hosts": HostsSection,
    "load": LoadSection,
    "phases": PhasesSection,
    "faults": FaultSection,
    "expect": Expect,
}


class Drill:
    """One drill, checked: its file, its name and its story."""

    def __init__(self, path: Path, file: DrillFile, story: str) -> None:
        self.name = path.stem
        self.path = path
        self.file = file
        self.story = story

    def as_dict(self, seed: int) -> dict[str, object]:
        """What drill.json holds: everything that is needed to judge and to repeat a run."""
        fields = self.file.model_dump(mode="json")
        return {"name": self.name, "story": self.story, "seed": seed, **fields}


def load(path: Path, assignments: Sequence[str] = ()) -> Drill:
    """The drill in `path`, with `drill.load.rate=800` and the like laid over it.

    Raises:
        ConfigError: with one line per problem.
    """
    tree = read(path)
    for assignment in assignments:
        assign(tree, assignment.removeprefix("drill."))
    try:
        file = DrillFile.model_validate(tree)
    except ValidationError as error:
        wrong = problems.found(error, DrillFile, SECTIONS)
        raise ConfigError(*problems.lines(path.name, wrong)) from None
    if found := list(_schedule_problems(file)):
        raise ConfigError(*problems.lines(path.name, found))
    return Drill(path, file, _story(path.read_text()))


def fits(drill: Drill, topology: Topology) -> None:
    """Check what a drill can only be asked once the stack is known: is what it names there?

    Raises:
        ConfigError: with one line for each that is not.
    """
    found: list[Problem] = [
        (f"faults[{number}].target", one.target, said)
        for number, one in enumerate(drill.file.faults)
        if (said := _target_problem(drill, one, topology))
    ]
    names = [one.name for one in topology.instances()]
    found += [
        (f"expect.share.{name}", None, "no such instance" + problems.near(name, names))
        for name in drill.file.expect.share or {}
        if name not in names
    ]
    if drill.file.hosts and drill.file.expect.share:
        found.append(("expect.share", None, "is about the instances of one host; leave it away"))
    locustfile = drill.file.load.locustfile
    if not (topology.root / locustfile).is_file():
        found.append(("load.locustfile", locustfile, "there is no such file"))
    if found:
        raise ConfigError(*problems.lines(drill.path.name, found))


def _target_problem(drill: Drill, one: FaultSection, topology: Topology) -> str:
    """What is wrong with a fault's target, on this stack; empty when nothing is."""
    kind, hosts = base.known()[one.fault], drill.file.hosts
    if hosts is None and issubclass(kind, OnHost):
        return f"{one.fault} is done to a host, and this drill has one: it needs a section [hosts]"
    if hosts and not issubclass(kind, OnHost):
        return f"{one.fault} is no fault of hosts, which is all that a drill with [hosts] can do"
    if hosts and one.target in [f"app-{number}" for number in range(hosts.application + 1, 10)]:
        return f"there are {hosts.application} application hosts (hosts.application)"
    return target_problem(one.target, kind, topology)


def available(drill: Drill, site: base.Site) -> None:
    """Check that this stack and this machine can be given the drill's faults.

    Raises:
        StateError: with one line for each that cannot be done.
    """
    kinds = {one.fault: base.make(one.fault, one.params) for one in drill.file.faults}
    reasons = {name: kind.available(site) for name, kind in kinds.items()}
    if found := [f"{drill.path.name}: {name}: {why}" for name, why in reasons.items() if why]:
        raise StateError(*found)


def find(words: Path, folder: Path) -> Path:
    """A drill's file, by its path or by its name in the folder of drills.

    Raises:
        UsageError: there is no such drill; with the names of those that there are.
    """
    for path in (words, folder / f"{words}.toml"):
        if path.is_file() and path.suffix == ".toml":
            return path
    known = sorted(path.stem for path in folder.glob("*.toml"))
    raise UsageError(f"drill {words}: no such drill{problems.near(words.stem, known)}")


def _schedule_problems(file: DrillFile) -> Iterator[Problem]:
    """What the fields alone do not say: unknown faults, their parameters, times past the end."""
    known = base.known()
    for number, one in enumerate(file.faults):
        where = f"faults[{number}]"
        if one.fault not in known:
            yield (
                f"{where}.fault",
                one.fault,
                "no such fault" + problems.near(one.fault, sorted(known)),
            )
            continue
        for said in base.problems(one.fault, one.params):
            yield f"{where}.params", one.params, said
        if one.last_s > file.phases.faults_s:
            yield (
                f"{where}",
                one.last_s,
                "begins (s) after the faults phase has ended (phases.faults_s)",
            )
    if file.load.workers > file.load.connections:
        yield "load.workers", file.load.workers, "each needs one of load.connections at least"
    if not any(file.load.mix.values()):
        yield "load.mix", file.load.mix, "at least one kind of request must have a share"


def _story(text: str) -> str:
    """The comment at the head of the file, as one text; blank comment lines part paragraphs."""
    lines = []
    for line in text.lstrip().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines).strip()
