"""Looking at an instance by another way than the faults do: a request, psutil, a plain connect."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from bulkhead.faults.contract import Fault, Injected, Site, make
from bulkhead.supervise import record
from bulkhead.topology.model import Instance
from tests.support.http import Answer, request
from tests.support.stack import Stack


def site_of(stack: Stack) -> Site:
    found = record.require(stack.home)
    return Site(stack.home, found.resolved(), found)


def instance(site: Site, name: str) -> Instance:
    return next(one for one in site.topology.instances() if one.name == name)


def inject(site: Site, fault: str | Fault, *names: str, **params: object) -> Injected:
    """One injection of a fault into the instances of these names."""
    made = make(fault, params) if isinstance(fault, str) else fault
    return made.injected(site, tuple(instance(site, name) for name in names))


def ask(site: Site, name: str, target: str = "/", timeout_s: float = 10) -> Answer:
    """One request to the instance itself."""
    return request(f"http://{instance(site, name).address}", "GET", target, timeout_s=timeout_s)


def is_silent(site: Site, name: str) -> bool:
    """Whether it accepts a request and does not answer it."""
    try:
        ask(site, name, timeout_s=0.5)
    except TimeoutError:
        return True
    return False


def is_refused(site: Site, name: str) -> bool:
    one = instance(site, name)
    try:
        socket.create_connection((one.host, one.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def processes(site: Site, name: str) -> list[psutil.Process]:
    """Its process and its workers, as psutil sees them."""
    for one in psutil.Process(site.record.pid).children():
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if one.environ().get("BULKHEAD_INSTANCE") == name:
                return [one, *one.children(recursive=True)]
    return []


def have_ended(some: list[psutil.Process]) -> bool:
    """Whether all are dead; who has not been waited for by its parent yet is, too."""
    return all(map(_has_ended, some))


def _has_ended(one: psutil.Process) -> bool:
    try:
        return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True


def are_stopped(site: Site, name: str) -> list[bool]:
    return [one.status() == psutil.STATUS_STOPPED for one in processes(site, name)]


class BrokenError(Exception):
    """Whatever goes wrong while a fault is in force."""


# However the life of a fault ends, it is undone.
ENDS = pytest.mark.parametrize("error", [None, BrokenError, KeyboardInterrupt])


@contextmanager
def ended_by(error: type[BaseException] | None) -> Iterator[None]:
    """Expect the block to be ended by this, or by nothing."""
    try:
        yield
    except BaseException as ended:
        if error is None or type(ended) is not error:
            raise
    else:
        assert error is None, f"{error.__name__} was swallowed"
