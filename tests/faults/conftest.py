"""Stacks for the faults: the smallest services where they do, the real ones where they must.

Nobody watches most of them: what a fault does must last until the fault itself undoes it.
"""

from collections.abc import Iterator

import pytest

from bulkhead.faults.contract import Site
from tests.faults.looking import site_of
from tests.support.stack import ECHO, Stack, running_stack

UNWATCHED = ("stack.watch=false", "proxy.balancer=nginx")


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Six echo instances; one stack for all tests of a file."""
    with running_stack(tmp_path_factory.mktemp("echo") / "home", (*ECHO, *UNWATCHED)) as stack:
        yield stack


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services; one stack for all tests of a file."""
    with running_stack(tmp_path_factory.mktemp("real") / "home", UNWATCHED) as stack:
        yield stack


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services as they are shipped; one stack for all tests of a file."""
    with running_stack(tmp_path_factory.mktemp("watched") / "home") as stack:
        yield stack


@pytest.fixture
def watched_site(watched: Stack) -> Site:
    return site_of(watched)


@pytest.fixture
def echo_site(echo: Stack) -> Site:
    return site_of(echo)


@pytest.fixture
def real_site(real: Stack) -> Site:
    return site_of(real)
