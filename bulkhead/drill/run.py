"""One run of a drill, from an empty folder to a verdict. `run` reads as the story of it."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from bulkhead import rundir
from bulkhead.clock import now, pause
from bulkhead.control.start import Say
from bulkhead.drill import evidence, ledger, schedule
from bulkhead.drill.distant import DistantObserver
from bulkhead.drill.events import Events
from bulkhead.drill.evidence import Mark
from bulkhead.drill.generator import Generator
from bulkhead.drill.inject import Injector, longest_s
from bulkhead.drill.judged import judged
from bulkhead.drill.observer import Observer
from bulkhead.drill.progress import Progress
from bulkhead.drill.schedule import Injection
from bulkhead.drill.spec import Drill, available
from bulkhead.drill.swarm import BOOT_S
from bulkhead.faults.base import Site
from bulkhead.judge.verdict import Verdict
from bulkhead.report import html
from bulkhead.rundir import RunDir

Stage = Callable[[], AbstractContextManager[Site]]


@dataclass(frozen=True)
class Run:
    """A run that has ended: where its evidence is, and what came of it."""

    drill: Drill
    seed: int
    folder: RunDir
    verdict: Verdict
    seconds: float

    def as_dict(self) -> dict[str, object]:
        """What a program is told of it."""
        return {
            "drill": self.drill.name,
            "seed": self.seed,
            "predicted": self.drill.file.predicts,
            "run": str(self.folder.path),
            **self.verdict.as_dict(),
        }


def run(stage: Stage, drill: Drill, seed: int, runs: Path, say: Say) -> Run:
    """Run a drill once on the stack that `stage` provides; write its folder, verdict and report.

    Raises:
        ConfigError, StateError, StartError: the stack or the load did not start.
        EvidenceError: rows are missing, so that nothing can be judged.
    """
    began = now()
    planned = schedule.plan(drill.file.faults, seed)
    say(f"{drill.name}: {drill.file.title} (seed {seed})")
    with stage() as site:
        available(drill, site)
        out = rundir.create(runs, drill.name)
        rundir.write_provenance(
            out, dict(site.topology.file.model_dump(mode="json")), site.record.nginx
        )
        out.drill_json.write_text(json.dumps(drill.as_dict(seed), indent=2) + "\n")
        say(f"  run folder: {out.path}")
        books = ledger.of(site)
        since = evidence.mark(site.homes, books)
        try:
            _load_and_break(site, drill, planned, seed, out, since, say)
        finally:
            try:
                # The ledger first: whatever it has applied by now has its rows by then.
                evidence.keep_ledger(books, since, out)
            finally:
                evidence.keep(since, out)
                evidence.keep_logs(site.homes, out)
    verdict = judged(out)
    html.write(out)
    return Run(drill, seed, out, verdict, now() - began)


def _load_and_break(
    site: Site,
    drill: Drill,
    planned: list[Injection],
    seed: int,
    out: RunDir,
    since: Mark,
    say: Say,
) -> None:
    """The phases: warm up, measure a baseline, break things, and see that it recovers."""
    phases = drill.file.phases
    rates = schedule.rates(drill.file.load, phases)
    with ExitStack() as ends:
        events = Events(out.events)
        ends.callback(events.close)
        observer = ends.enter_context(_observer(site, events, since, out, ends))
        events.note("phase", "warmup")
        load = ends.enter_context(
            Generator(site, drill.file.load, rates, seed, _longest_s(drill, site), out)
        )
        load.start()
        # Phases count from the begin of the load, so that each has the rate that it is to have.
        until = load.wait_for_rows() + phases.warmup_s
        progress = ends.enter_context(Progress(load.rows, observer, say))
        injector = Injector(site, planned, events)
        ends.callback(injector.undo)

        def enter(phase: str) -> float:
            load.require()
            observer.require()
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


def _observer(site: Site, events: Events, since: Mark, out: RunDir, ends: ExitStack) -> Observer:
    """Who watches. Of several hosts it also learns who had which address, for run.json."""
    if site.hosts is None:
        return Observer(site, events)
    observer = DistantObserver(site, site.hosts, events, since.hold)
    ends.callback(lambda: rundir.add_instances(out, observer.addresses()))
    return observer


def _wait_until(moment: float) -> None:
    pause(max(0.0, moment - now()))


def _longest_s(drill: Drill, site: Site) -> float:
    """After this long the load ends by itself, whatever became of the drill that started it."""
    phases = drill.file.phases
    asked = phases.warmup_s + phases.baseline_s + phases.faults_s + phases.recovery_s
    return asked + longest_s(drill.file.faults, site.topology) + BOOT_S
