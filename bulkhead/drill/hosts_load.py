"""`bulkhead load --hosts containers`: Locust's master and workers in containers of their own."""

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bulkhead import interrupts, rundir
from bulkhead.clock import wait_until
from bulkhead.drill import collect
from bulkhead.drill.client_rows import merge
from bulkhead.drill.closed_load import STOP_S, STOPPING, Load, Result, sum_up, watch
from bulkhead.drill.ledger import LedgerServer
from bulkhead.drill.swarm import EXIT_ROWS
from bulkhead.errors import EvidenceError, StartError
from bulkhead.hosts.containers import DOCKER_S, Containers, compose, containers, docker, inspect
from bulkhead.hosts.interface import HostError
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir
from bulkhead.supervise import record
from bulkhead.supervise.home import Say
from bulkhead.topology.model import Topology

PROJECT = "bulkhead"  # deploy/compose
USER = 10001  # Dockerfile: the user that writes the rows in a container
MASTER, WORKER = "load-master", "load-worker"


def run(topology: Topology, load: Load, say: Say, colour: bool) -> Result:
    """Load the stack of `make compose-up`, keep every row of every host, and sum up.

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
    since = collect.mark([hosts.proxy, *hosts.homes.values()], books)
    say(
        f"{load.users} users of {load.workers} workers, {load.shape}, for {load.seconds} s, "
        f"against {len(hosts.homes)} application hosts behind {hosts.url}"
    )
    try:
        code = _locust(topology.root, hosts, load, run_, say)
    finally:
        collect.keep(since, run_)
    if code == EXIT_ROWS:
        raise EvidenceError(f"rows of the load are missing; see {run_.locust_log}")
    if code not in (0, 1):
        raise StartError(f"Locust ended with exit code {code}; see {run_.locust_log}")
    merge(run_, load.workers)
    rundir.add_instances(
        run_,
        {f"{known.host}:{known.port}": (known.name, known.service) for known in hosts.instances()},
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
        "BULKHEAD_LOAD_S": str(load.seconds),
    }
    settings = {
        "proxy_url": "http://proxy:8080",
        "rows": "/rows/client-{worker}.jsonl",
        "shape": load.shape,
        "pace": load.pace,
    }
    # docker-compose.yml: the run folder is /rows there.
    out.locust_settings.write_text(json.dumps(settings, indent=2) + "\n")
    out.locust_settings.chmod(0o644)  # another user reads it there
    project = hosts.environment["COMPOSE_PROJECT_NAME"]
    try:
        compose(root, hosts.environment | asked, "load")
        (master,) = containers(project, MASTER)
        everybody = [master, *containers(project, WORKER)]
        files = [out.worker_rows(worker) for worker in range(load.workers)]

        def wait(seconds: float) -> bool:
            return bool(wait_until(lambda: not _runs(master), seconds, 0.2))

        try:
            stopping = watch(load, files, out, say, wait, lambda: "")
        except KeyboardInterrupt:
            stopping = STOPPING
        if stopping:
            say(stopping)
            docker("kill", "--signal", "INT", master)
        if not wait_until(lambda: not any(map(_runs, everybody)), STOP_S):
            raise StartError(f"Locust did not end in {STOP_S} s")
        return int(inspect(master)["State"]["ExitCode"])
    finally:
        with interrupts.signals_deferred():  # it takes seconds, and must not be cut short
            _remove([*containers(project, MASTER), *containers(project, WORKER)], out)
        os.chown(out.path, os.getuid(), os.getgid())


def _remove(locust: list[str], out: RunDir) -> None:
    """Keep their output and remove them, each even if another one stays."""
    with out.locust_log.open("wb") as log:
        for container in locust:
            words = ["docker", "logs", container]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(words, stdout=log, stderr=log, timeout=DOCKER_S, check=False)
            try:
                docker("rm", "--force", "--volumes", container)
            except HostError as error:
                log.write(f"{error}\n".encode())


def _runs(container: str) -> bool:
    return bool(inspect(container)["State"]["Running"])
