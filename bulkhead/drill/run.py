"""One run of a drill, from an empty folder to a verdict. `run` reads as the story of it."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bulkhead import rundir
from bulkhead.clock import now, pause
from bulkhead.drill import collect, inject
from bulkhead.drill.collect import Mark
from bulkhead.drill.inject import Injector
from bulkhead.drill.observe import DistantObserver, Events, Observer, Progress
from bulkhead.drill.spec import Drill, available
from bulkhead.drill.swarm import BOOT_S, OpenLoad
from bulkhead.faults.contract import Site
from bulkhead.judge.verdict import Verdict
from bulkhead.report import html
from bulkhead.rundir import RunDir
from bulkhead.supervise.home import Say

Stage = Callable[[], AbstractContextManager[Site]]


@dataclass(frozen=True)
class Run:
    """A run that has ended: its folder with the evidence, and its verdict."""

    drill: Drill
    seed: int
    folder: RunDir
    verdict: Verdict
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """The run for a program."""
        return {
            "drill": self.drill.name,
            "seed": self.seed,
            "predicted": self.drill.file.predicts,
            "run": str(self.folder.path),
            **asdict(self.verdict),
        }


def run(stage: Stage, drill: Drill, seed: int, runs: Path, say: Say) -> Run:
    """Run a drill once on the stack that `stage` provides; write its folder, verdict and report.

    ConfigError, StateError, StartError if the stack or the load did not start. EvidenceError if
    rows are missing, so that nothing can be judged.
    """
    start = now()
    say(f"{drill.name}: {drill.file.title} (seed {seed})")
    with stage() as site:
        available(drill, site)
        out = rundir.create(runs, drill.name)
        rundir.write_provenance(
            out, dict(site.topology.file.model_dump(mode="json")), site.record.nginx
        )
        out.drill_json.write_text(json.dumps(drill.as_dict(seed), indent=2) + "\n")
        say(f"  run folder: {out.path}")
        since = Mark(site.homes, collect.ledger_of(site))
        with collect.room_for(out), ExitStack() as ends:
            ends.callback(collect.keep_logs, site.homes, out)
            ends.callback(since.keep, out)
            # The ledger first: the effects in it have their rows by then.
            ends.callback(since.keep_ledger, out)
            _load_and_break(site, drill, seed, out, since, say)
    with collect.room_for(out):
        verdict = collect.judged(out)
        html.write(out)
    return Run(drill, seed, out, verdict, now() - start)


def _load_and_break(
    site: Site, drill: Drill, seed: int, out: RunDir, since: Mark, say: Say
) -> None:
    """The phases: warm up, measure a baseline, break things, and see that it recovers."""
    phases = drill.file.phases
    rates = inject.rates(drill.file.load, phases)
    planned = inject.plan(drill.file.faults, seed)
    with ExitStack() as ends:
        events = Events(out.events)
        ends.callback(events.close)
        observer = ends.enter_context(
            DistantObserver(site, site.hosts, events, since.keep_open, out)
            if site.hosts
            else Observer(site, events)
        )
        events.note("phase", "warmup")
        # By then the load ends by itself, even if the drill that started it is dead.
        longest_s = sum(phases.lengths.values()) + BOOT_S
        longest_s += inject.longest_s(drill.file.faults, site.topology)
        load = ends.enter_context(OpenLoad(site, drill.file.load, rates, seed, longest_s, out))
        load.start()
        # Phases count from the start of the load, so that each has the rate that it is to have.
        until = load.wait_for_rows() + phases.warmup_s
        progress = ends.enter_context(Progress(load.rows, observer, say))
        injector = Injector(site, planned, events)
        ends.callback(injector.heal)

        def enter(phase: str) -> float:
            load.require()
            observer.require()
            events.require()
            progress.phase = phase
            return events.note("phase", phase)

        _wait_until(until)
        enter("baseline")
        until += phases.baseline_s
        _wait_until(until)
        if planned:
            enter("faults")
            injector.run(until + phases.faults_s)
            injector.join()
        _wait_until(enter("recovery") + phases.recovery_s)
        enter("end")
        load.stop()
        events.require()


def _wait_until(moment: float) -> None:
    pause(max(0.0, moment - now()))
