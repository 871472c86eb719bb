"""Requests made by hand, and where the account puts each of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.runs import Failed, MadeRun, ask, attempts

Row = dict[str, Any]
Make = Callable[[MadeRun, str], None]

# A worker of nginx is killed here, and its death is proved 10 ms later.
KILLED = 110.0
SKIPPED, INSTANCE_KILLED = 120.0, 122.0
# nginx is told to reload here, and new workers serve 10 ms later.
RELOADED = 130.0
# nginx's master is killed here, and its workers are proved to be gone 2 s later.
MASTER_KILLED = 140.0
# Everything is killed here, and it is proved 10 ms later.
ALL_KILLED = 150.0

# nginx answered, and nobody executed the request.
BY_NGINX: Row = {"instance": "proxy", "boot": "71"}
NOBODY: Row = {"begin": None, "applied": None}


@dataclass(frozen=True)
class Case:
    """A request by its name (which is its id), where it must land, and how to make it."""

    name: str
    outcome: str
    cause: str
    make: Make


def cases(outcome: str, cause: str, **makes: Make) -> list[Case]:
    """Several requests that must land in the same place, by name."""
    return [Case(name.replace("_", "-"), outcome, cause, make) for name, make in makes.items()]


def landed(folder: Path, made: Iterable[Case]) -> dict[str, Row]:
    """All of them in one run: the account's row of each by its id."""
    run = MadeRun(folder)
    run.phases()
    run.injection(1, "nginx_worker", "proxy", KILLED)
    run.injection(2, "nginx_worker", "proxy", SKIPPED, skipped="no such worker")
    run.injection(3, "kill", "api-1", INSTANCE_KILLED)
    run.injection(4, "nginx_reload", "nginx", RELOADED)
    run.injection(5, "kill_nginx", "nginx", MASTER_KILLED, heal=0.01, healed=2.0)
    run.injection(6, "kill_everything", "everything", ALL_KILLED, heal=0.01, healed=2.0)
    for one in made:
        one.make(run, one.name)
    return {row["id"]: row for row in ask(run.write(), "FROM requests")}


def no_answer(error: str, **more: Any) -> Row:
    """What the client has of a request without a whole answer."""
    return {"status": 0, "instance": "", "boot": "", "error": error} | more


def by_nginx(
    run: MadeRun, id: str, status: int, *tries: Failed, proxy: Row | None = None, **more: Any
) -> None:
    """A request that nginx answered with an error of its own after these attempts."""
    row = attempts(tries) | {"status": status} | BY_NGINX | (proxy or {})
    run.request(id, client={"status": status} | BY_NGINX, proxy=row, **NOBODY | more)


def held_up(
    run: MadeRun, id: str, gave_up: str, *tries: Failed, status: int = 503, **more: Any
) -> None:
    """A request that nginx gave up after it had waited in the queue."""
    by_nginx(run, id, status, *tries, proxy={"gave_up": gave_up, "queued": 5.0}, **more)


def by_service(run: MadeRun, id: str, status: int, *before: Failed, **more: Any) -> None:
    """A request that api-1 itself answered with an error, after these attempts."""
    run.request(id, status=status, failed=before, **{"applied": None} | more)


def sub_request(run: MadeRun, id: str, status: int, *tries: Failed, **more: Any) -> None:
    """A request that a service made on behalf of another one, and that failed."""
    run.request(id, client=None, proxy=attempts(tries) | {"status": status} | more, begin=None)
