"""Faults that are no faults: an operator rolls, scales, upgrades or rotates the stack meanwhile.

Each command is a process of its own, as it is for an operator: an injection lives in a thread,
where a command could not hold back the signals that must not cut it short.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from bulkhead import proc
from bulkhead.faults import contract, processes
from bulkhead.faults.contract import FaultError, Site, Steps, Targets, confirmed, fault, healed
from bulkhead.faults.processes import nginx_master, nginx_workers, pids
from bulkhead.proc import Process
from bulkhead.supervise import record

# A roll lets each instance drain for its `grace_s`, and there may be dozens.
LONGEST_S = 300
# A run reads all of its rows in the end: no renamed file may be deleted before.
KEEP = 1000


def patience_s(commands: int) -> float:
    """The `patience_s` of a fault that gives so many commands, one after the other."""
    return contract.Fault.patience_s + commands * LONGEST_S


def command(site: Site, *words: str) -> None:
    """Run `bulkhead WORDS` with the settings that the stack has; FaultError has its output."""
    said = f"`bulkhead {' '.join(words)}`"
    given = [word for setting in assignments(site.record.topology) for word in ("--set", setting)]
    called = [sys.executable, "-m", "bulkhead.cli", *words, "--topology", site.record.source]
    try:
        done = subprocess.run(
            [*called, *given],
            cwd=site.topology.root,
            env={name: text for name, text in os.environ.items() if name != "BULKHEAD_SET"},
            start_new_session=True,  # Ctrl-C is for us; this must come to its end
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FaultError(f"{said} does not end in {LONGEST_S} s") from None
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip()
        raise FaultError(f"{said} ends with {done.returncode}: {output}")


def assignments(tree: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """A topology as `--set` takes it, a value each."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from assignments(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}={json.dumps(value)}"


@fault(patience_s=patience_s(1))
def roll(site: Site, targets: Targets) -> Steps:
    """`bulkhead roll` of the targets: each is drained and starts anew. There is nothing to undo."""
    processes.living(site, targets)
    old = processes.leaders(site, targets)
    command(site, "roll", *old)

    def replaced() -> dict[str, Process]:
        new = processes.leaders(site, targets)
        return {name: leader for name, leader in new.items() if leader != old[name]}

    awaited = "another process leads each of them"
    confirmed(site, awaited, lambda: len(replaced()) == len(targets))
    yield "; ".join(
        f"{name}: pid {old[name].pid}, now {new.pid}" for name, new in replaced().items()
    )
    healed("must answer", targets, site.answers)
    return "nothing to undo; every one of them answers"


def as_begun(site: Site) -> None:
    """Return to the topology that the run began with."""
    if record.require(site.home).topology != site.record.topology:
        command(site, "reload")


@fault(undo=as_begun, patience_s=patience_s(3))  # heal what an earlier one has left, scale, heal
def scale(
    site: Site, targets: Targets, more_instances: Annotated[int, Field(ge=1, le=60)]
) -> Steps:
    """`bulkhead scale` of the targets' service, and `bulkhead reload` to return to the topology."""
    processes.living(site, targets)
    service = targets[0].service
    before = site.topology.instances(service)
    try:
        command(site, "scale", f"{service}={len(before) + more_instances}")
        after = record.require(site.home).resolved().instances(service)
        names_before = {instance.name for instance in before}
        added = [instance for instance in after if instance.name not in names_before]
        if not added:
            raise FaultError(f"was not confirmed: {service} has {len(after)} instances, as before")
        confirmed(site, "the new instances answer", lambda: all(map(site.answers, added)))
        names = ", ".join(instance.name for instance in added)
        yield f"answer: {names}"
    finally:
        as_begun(site)
    healed("must have ended", added, lambda one: not site.find(one) and not site.accepts(one))
    healed("must answer", before, site.answers)
    return f"ended: {names}; all others answer"


@fault(
    on="nginx",
    missing=contract.unwatched("nobody would let the old workers go"),
    patience_s=patience_s(1),
)
def upgrade_nginx(site: Site) -> Steps:
    """`bulkhead upgrade nginx`: the nginx on disk takes over the listening sockets."""
    master = nginx_master(site)
    old = [master, *nginx_workers(master)]
    command(site, "upgrade", "nginx")
    confirmed(site, "the old nginx has ended", lambda: not any(map(proc.alive, old)))
    master = nginx_master(site)
    yield f"pids: {pids([master, *nginx_workers(master)])}, no more {pids(old)}"
    processes.nginx_answering(site)
    return f"nothing to undo; workers: {pids(nginx_workers(nginx_master(site)))}"


@fault(on="files", patience_s=patience_s(1))
def rotate(site: Site) -> Steps:
    """`bulkhead reopen` while the stack writes, as at midnight: growing files are renamed."""
    rows = site.home.proxy_rows
    old = rows.stat().st_ino
    command(site, "reopen", "--keep", str(KEEP))
    awaited = f"{rows.name} is another file"
    confirmed(site, awaited, lambda: rows.exists() and rows.stat().st_ino != old)
    yield f"renamed: {', '.join(sorted(path.name for path in site.home.rows.glob('*.1')))}"
    healed("must answer", site.topology.instances(), site.answers)
    return "nothing to undo; every instance answers"
