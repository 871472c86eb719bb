"""`bulkhead load --hosts containers`: Locust's master and workers in containers of their own."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bulkhead import rundir
from bulkhead.clock import now, wait_until
from bulkhead.control import interrupts, record
from bulkhead.control.start import Say
from bulkhead.drill import evidence, merge
from bulkhead.drill.ledger import LedgerServer
from bulkhead.drill.load import Result, sum_up
from bulkhead.drill.locust import STOP_S, Follower, Load
from bulkhead.drill.swarm import BOOT_S, EXIT_ROWS
from bulkhead.errors import EvidenceError, StartError
from bulkhead.hosts.base import HostError
from bulkhead.hosts.containers import Containers, compose
from bulkhead.hosts.engine import DOCKER_S, containers, docker, inspect
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir
from bulkhead.topology.model import Topology

PROJECT = "bulkhead"  # deploy/compose
USER = 10001  # Dockerfile: who writes the rows in a container
MASTER, WORKER = "load-master", "load-worker"


def run(topology: Topology, load: Load, say: Say, colour: bool) -> Result:
    """Load the stack of `make compose-up`, keep every row of every host, and say what came of it.

    Raises:
        StateError: the stack is not up, or this is not root.
        StartError, HostError: Locust could not run.
        EvidenceError: rows are missing, so that no figure can be given.
    """
    with TemporaryDirectory(prefix="bulkhead-") as folder:
        project = os.environ.get("COMPOSE_PROJECT_NAME", PROJECT)
        hosts = Containers(topology, (), Path(folder) / "hosts", 0, project)
        hosts.attach()
        return _run(topology, hosts, load, say, colour)


def _run(topology: Topology, hosts: Containers, load: Load, say: Say, colour: bool) -> Result:
    run_ = rundir.create(Home(topology.home).runs, "load")
    found = record.read(hosts.proxy)
    configuration = found.resolved().file if found else topology.file
    rundir.write_provenance(run_, dict(configuration.model_dump(mode="json")), "")
    books = LedgerServer(hosts.export, topology.root)
    since = evidence.mark([hosts.proxy, *hosts.homes.values()], books)
    say(
        f"{load.users} users of {load.workers} workers, {load.shape}, for {load.seconds:g} s, "
        f"against {len(hosts.homes)} application hosts behind {hosts.url}"
    )
    try:
        code = _locust(topology.root, hosts, load, run_, say)
    finally:
        evidence.keep(since, run_)
    if code == EXIT_ROWS:
        raise EvidenceError(f"rows of the load are missing; see {run_.locust_log}")
    if code not in (0, 1):
        raise StartError(f"Locust ended with exit code {code}; see {run_.locust_log}")
    merge.merge(run_, load.workers)
    rundir.add_instances(
        run_, {f"{one.host}:{one.port}": (one.name, one.service) for one in hosts.instances()}
    )
    return sum_up(run_, books, since, colour)


def _locust(root: Path, hosts: Containers, load: Load, out: RunDir, say: Say) -> int:
    """Run it to its end, with its rows in the run folder; the master's exit code."""
    out.path.chmod(0o755)
    os.chown(out.path, USER, USER)
    asked = {
        "BULKHEAD_LOAD_ROWS": str(out.path),
        "BULKHEAD_LOAD_USERS": str(load.users),
        "BULKHEAD_LOAD_WORKERS": str(load.workers),
        "BULKHEAD_LOAD_S": f"{load.seconds:g}",
        "BULKHEAD_SHAPE": load.shape,
        "BULKHEAD_PACE": f"{load.pace:g}",
    }
    project = hosts.environment["COMPOSE_PROJECT_NAME"]
    try:
        compose(root, hosts.environment | asked, "load")
        (master,) = containers(project, MASTER)
        everybody = [master, *containers(project, WORKER)]
        try:
            _watch(master, out, load, say)
        except KeyboardInterrupt:
            say("stopping the load; requests in flight may finish")
            docker("kill", "--signal", "INT", master)
        if not wait_until(lambda: not any(map(_runs, everybody)), STOP_S):
            raise StartError(f"Locust did not end in {STOP_S} s")
        return int(inspect(master)["State"]["ExitCode"])
    finally:
        with interrupts.held():  # it takes seconds, and must not be cut short
            _remove([*containers(project, MASTER), *containers(project, WORKER)], out)
        os.chown(out.path, os.getuid(), os.getgid())


def _remove(locust: list[str], out: RunDir) -> None:
    """Keep what they printed and take them away; one that does not go keeps no other."""
    with out.locust_log.open("wb") as log:
        for one in locust:
            words = ["docker", "logs", one]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(words, stdout=log, stderr=log, timeout=DOCKER_S, check=False)
            try:
                docker("rm", "--force", "--volumes", one)
            except HostError as error:
                log.write(f"{error}\n".encode())


def _watch(master: str, out: RunDir, load: Load, say: Say) -> None:
    """Tell every second how it goes, until the master ends."""
    follower = Follower([out.worker_rows(worker) for worker in range(load.workers)])
    began, longest = now(), load.seconds + STOP_S + BOOT_S
    while not wait_until(lambda: not _runs(master), 1, 0.2):
        new, failed = follower.read()
        say(
            f"  {now() - began:4.0f} s  {new:7,} requests/s  {follower.requests:9,} in all  "
            f"{follower.failed:,} failed" + (f" (+{failed})" if failed else "")
        )
        if now() - began > longest:
            raise HostError(f"Locust did not end {STOP_S} s after its time")


def _runs(container: str) -> bool:
    return bool(inspect(container)["State"]["Running"])
