"""`bulkhead load`: users that wait between requests, from the start of Locust to a summary.

Locust runs on this host, or its master and workers in containers of their own.
"""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bulkhead import interrupts, rundir
from bulkhead.accounting import account
from bulkhead.clock import now, wait_until
from bulkhead.drill import collect
from bulkhead.drill.client_rows import Follower, cut_short, merge
from bulkhead.drill.collect import LedgerServer, Mark
from bulkhead.drill.swarm import BOOT_S, EXIT_ROWS, Swarm
from bulkhead.errors import EvidenceError, StartError, StateError
from bulkhead.hosts.containers import DOCKER_S, Containers, compose, containers, docker, inspect
from bulkhead.hosts.interface import HostError
from bulkhead.records import ClientRow, read_rows
from bulkhead.render.paths import Home
from bulkhead.report import load_summary as report
from bulkhead.rundir import RunDir
from bulkhead.supervise import record, start
from bulkhead.supervise.home import Say
from bulkhead.supervise.preflight import blocking, ephemeral, ephemeral_hint, listeners
from bulkhead.supervise.status import tail
from bulkhead.topology.model import Topology

# A stopping Locust waits for requests in flight; this is longer than any of them may take.
STOP_S = 30
STOPPING = "stopping the load; requests in flight may finish"
GONE = "a worker is gone; stopping the load"

UI_HOST = "127.0.0.1"

PROJECT = "bulkhead"  # deploy/compose
USER = 10001  # Dockerfile: the user that writes the rows in a container
MASTER, WORKER = "load-master", "load-worker"


@dataclass(frozen=True)
class Load:
    """The load that Locust makes: users that wait between their requests."""

    users: int
    seconds: int
    shape: str
    pace: float  # multiplies every think time
    workers: int  # how many processes the users are spread over
    ui_port: int | None  # where Locust's web UI is to listen; None: none, run by itself
    work: bool = True  # whether GET /api/v1/work is served


@dataclass(frozen=True)
class Result:
    """The outcome of a load. `failed` is whether anything failed, was lost or was done twice."""

    figures: dict[str, object]
    text: str
    failed: bool


def run(topology: Topology, asked: bool, load: Load, say: Say, colour: bool) -> Result:
    """Bring the stack up if it is down, load it, keep every row, and sum up.

    A stack that is up is loaded as it is, unless the user `asked` for settings on this command
    line: then they must be in force.
    StateError, StartError if the stack or Locust could not be started, or the port of its web UI is
    taken. EvidenceError if rows are missing, so that no figure can be given.
    """
    home = Home(topology.home)
    found = record.read(home)
    if asked or not (found and found.leads()):
        start.up(topology, say)
    running = record.require_whole(home)
    if load.ui_port is not None:
        _require_free(load.ui_port, say)
    topology = running.resolved()
    run_ = rundir.create(home.runs, "load")
    rundir.write_provenance(run_, dict(topology.file.model_dump(mode="json")), running.nginx)
    since = Mark([home], collect.ledger_of_this_host(topology))
    if load.ui_port is None:
        by = f" of {load.workers} workers" if load.workers > 1 else ""
        say(f"{load.users} users{by}, {load.shape}, for {load.seconds} s, against {topology.url}")
    else:
        say(f"Locust's web UI: http://127.0.0.1:{load.ui_port}   (Ctrl-C ends it and sums up)")
    load = replace(load, work=topology.file.stack.admin)
    run_locust(topology.root, topology.url, load, run_, say)
    with collect.room_for(run_):
        since.keep(run_)
        return _sum_up(run_, since, colour)


def _require_free(port: int, say: Say) -> None:
    """Check that Locust's web UI can listen there: Locust itself would only print a traceback."""
    asked = f"load: --ui-port {port}"
    if owner := blocking(UI_HOST, port, listeners()):
        raise StateError(
            f"{asked}: {owner.describe()} listens there already; stop that, or choose another port"
        )
    try:
        with socket.create_server((UI_HOST, port)):
            pass
    except OSError as error:
        raise StateError(f"{asked}: {error.strerror}; choose another port") from None
    if ephemeral([port]):
        say(f"warning: {asked}: {ephemeral_hint()}")


def _sum_up(run_: RunDir, since: Mark, colour: bool) -> Result:
    """Sum up a load whose rows are in its run folder; write summary.json."""
    sent, short = 0, []
    for row in read_rows(run_.client_rows, ClientRow):
        sent += 1
        if cut_short(row):
            short.append(row.wrong)
    if not sent:
        raise EvidenceError(f"the load made no request; see {run_.locust_log}")
    if short:
        raise EvidenceError(
            f"{short[0]}, or ask for fewer users: {len(short):,} of {sent:,} requests could "
            f"not be sent, which says nothing about the stack; see {run_.path}"
        )
    since.keep_ledger(run_)
    with account.opened(run_) as rows:
        load = report.load_of(rows, with_rows=run_.proxy_rows.exists())
    figures = load.figures | {"run": str(run_.path)}
    run_.summary_json.write_text(json.dumps(figures, indent=2) + "\n")
    where = f"\nrows, run.json and what Locust said: {run_.path}"
    if causes := load.figures["causes"]:
        where += f"\nsee: bulkhead report {run_.path} --request {causes[0]['example']}"
    return Result(figures, report.text(load, colour) + where, load.failed)


def run_locust(root: Path, url: str, load: Load, out: RunDir, progress: Say) -> None:
    """Run it to its end; Ctrl-C ends it early and keeps the rows so far.

    StartError if Locust could not run; with the last lines that it printed. EvidenceError if rows
    are missing: Locust found it, or a worker has died.
    """
    settings = {"proxy_url": url, "shape": load.shape, "pace": load.pace, "work": load.work}
    options = ["--users", str(load.users), "--spawn-rate", str(load.users), "--host", url]
    options += ["--html", str(out.locust_html.absolute())]
    if load.ui_port is not None:
        options += ["--web-host", UI_HOST, "--web-port", str(load.ui_port)]
    else:
        options += ["--headless", "--only-summary", "--run-time", f"{load.seconds}s"]
    with Swarm("loadtest/locustfile.py", options, settings, load.workers, root, out) as swarm:
        try:
            swarm.start()
            stopping = _watch(load, swarm.rows, out, progress, swarm.wait, swarm.lost)
        except KeyboardInterrupt:
            stopping = STOPPING
        if stopping:
            progress(stopping)
            swarm.interrupt()
            ended = swarm.wait(STOP_S)
            if stopping == GONE:
                swarm.require_workers()
            if not ended:
                raise StartError(f"Locust did not end in {STOP_S} s; see {out.locust_log}")
        code = swarm.finish()
    if not out.client_rows.exists() or code not in (0, 1):
        raise StartError(f"Locust ended with exit code {code}:", *tail(out.locust_log))


def _watch(
    load: Load,
    follower: Follower,
    out: RunDir,
    say: Say,
    wait: Callable[[float], bool],
    lost: Callable[[], str],
) -> str:
    """Report progress every second until Locust ends, or must be stopped: then why, in one line.

    `wait` waits for its end so many seconds, and `lost` says which of its workers is gone.
    """
    start = now()
    while not wait(1):
        passed = now() - start
        before = follower.requests
        line = follower.progress(passed)
        if follower.requests > before or load.ui_port is None:
            say(line)
        if follower.short:
            return "the load generator has run out of something; stopping the load"
        if lost():
            return GONE
        if load.ui_port is None and passed > load.seconds + BOOT_S + STOP_S:
            raise StartError(f"Locust did not end {STOP_S} s after its time; see {out.locust_log}")
    return ""


def run_in_containers(topology: Topology, load: Load, say: Say, colour: bool) -> Result:
    """Load the stack of `make compose-up`, keep every row of every host, and sum up.

    StateError if the stack is not up, or this is not root. StartError, HostError if Locust could
    not run. EvidenceError if rows are missing, so that no figure can be given.
    """
    with TemporaryDirectory(prefix="bulkhead-") as folder:
        project = os.environ.get("COMPOSE_PROJECT_NAME", PROJECT)
        hosts = Containers(topology, (), Path(folder) / "hosts", 0, project)
        hosts.attach()
        run_ = rundir.create(Home(topology.home).runs, "load")
        found = record.read(hosts.proxy)
        configuration = found.resolved().file if found else topology.file
        rundir.write_provenance(run_, dict(configuration.model_dump(mode="json")), "")
        books = LedgerServer(hosts.export, topology.root)
        since = Mark([hosts.proxy, *hosts.homes.values()], books)
        say(
            f"{load.users} users of {load.workers} workers, {load.shape}, for {load.seconds} s, "
            f"against {len(hosts.homes)} application hosts behind {hosts.url}"
        )
        try:
            code = _run_containers(topology.root, hosts, load, run_, say)
        finally:
            since.keep(run_)
        if code == EXIT_ROWS:
            raise EvidenceError(f"rows of the load are missing; see {run_.locust_log}")
        if code not in (0, 1):
            raise StartError(f"Locust ended with exit code {code}; see {run_.locust_log}")
        merge(run_, load.workers)
        names = {known.address: (known.name, known.service) for known in hosts.instances()}
        rundir.add_instances(run_, names)
        return _sum_up(run_, since, colour)


def _run_containers(root: Path, hosts: Containers, load: Load, out: RunDir, say: Say) -> int:
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
        follower = Follower([out.worker_rows(worker) for worker in range(load.workers)])

        def wait(seconds: float) -> bool:
            return bool(wait_until(lambda: not _runs(master), seconds, 0.2))

        try:
            stopping = _watch(load, follower, out, say, wait, lambda: "")
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
