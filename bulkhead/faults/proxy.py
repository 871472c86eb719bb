"""Faults of nginx: its master or a worker crashes, or it reloads."""

from signal import SIGHUP
from typing import Annotated

from pydantic import Field

from bulkhead import http_probe, proc
from bulkhead.faults.contract import HEAL_S, FaultError, Site, Steps, confirmed, fault, healed
from bulkhead.faults.processes import killed, nginx_master, nginx_workers, pids, refuses

RELOADED_S = 10


def generation(site: Site) -> str:
    """The configuration that nginx answers with, or "" when it does not answer."""
    return http_probe.generation(site.home.internal_socket)


def must_answer(site: Site) -> None:
    """Wait until nginx answers.

    Raises:
        FaultError: it does not.
    """
    healed("must answer", ("nginx",), lambda _: bool(generation(site)))


@fault(on="nginx")
def kill_nginx(site: Site) -> Steps:
    """nginx's master crashes. Its workers serve on and hold the port, as orphans.

    supervisord starts another master, and the watchdog ends the orphans.
    """
    victim = nginx_master(site)
    old = proc.children(victim.pid)
    wanted = generation(site)
    settings = site.topology.proxy
    host, _, port = settings.listen.rpartition(":")
    refused: list[bool] = []

    def taken_over(_: str) -> bool:
        refused.append(refuses(host, int(port)))
        try:
            new = nginx_master(site)
        except FaultError:
            return False
        if new == victim or any(map(proc.alive, old)):
            return False
        return len(nginx_workers(new)) >= settings.workers and generation(site) == wanted

    try:
        yield killed(site, [victim])
    finally:
        healed(
            "must serve with new workers, and without the old",
            ("nginx",),
            taken_over,
            # Orphans first announce the end of their connections, then finish what they have.
            settings.closing_s + settings.grace_s + HEAL_S,
        )
    return (
        f"workers: {pids(nginx_workers(nginx_master(site)))}, no more {pids(old)}; "
        f"{sum(refused)} of {len(refused)} connects were refused meanwhile"
    )


@fault(on="nginx")
def nginx_worker(site: Site, index: Annotated[int, Field(ge=0, le=63)] = 0) -> Steps:
    """A worker of nginx crashes, and every connection that it held; 0 is the eldest."""
    master = nginx_master(site)
    before = nginx_workers(master)
    if index >= len(before):
        raise FaultError(f"nginx has {len(before)} workers, none with index {index}")
    try:
        yield killed(site, [before[index]])
    finally:
        healed(
            f"must have {len(before)} workers again",
            ("nginx",),
            lambda _: len(nginx_workers(master)) >= len(before),
        )
    return f"workers: {pids(nginx_workers(master))}"


@fault(on="nginx")
def nginx_reload(site: Site) -> Steps:
    """nginx reads its configuration again, as at every deploy of a change.

    There is nothing to undo, since the configuration is the same.
    """
    master = nginx_master(site)
    old = nginx_workers(master)
    proc.send(master, SIGHUP)

    def taken_over() -> bool:
        new = nginx_workers(master)
        return len(new) >= len(old) and not set(new) & set(old) and bool(generation(site))

    confirmed(site, "new workers of nginx serve, and none of the old", taken_over, RELOADED_S)
    yield f"workers: {pids(nginx_workers(master))}, no more {pids(old)}"
    must_answer(site)
    return f"nothing to undo; workers: {pids(nginx_workers(master))}"
