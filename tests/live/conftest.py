"""A running stack that operations change under load, shared by the tests of a file."""

from collections.abc import Iterator

import pytest

from bulkhead.testing import wait_until
from tests.support.stack import Stack, running_stack

PROGRAMS = ("supervisord", "nginx", "watch", "api-1", "api-2", "web-1", "web-2")
SMALL = ("services.api.instances=2", "services.web.instances=2", "services.web.workers=1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A short name: the path of a unix socket is limited.
    with running_stack(tmp_path_factory.mktemp("o") / "home", SMALL) as stack:
        yield stack


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """A running stack, that a test leaves as it was: every instance serves, as it was set up."""
    settings = list(shared.settings)
    yield shared
    shared.settings[:] = settings
    left = shared.bulkhead("reload", "--dry-run").stdout
    if "nothing differs" not in left:
        shared.bulkhead("reload")  # the next test is not to fail for the failure of this one
    assert "nothing differs" in left
    ready = {name: one["ready"] for name, one in shared.status().items()}
    assert ready == dict.fromkeys(PROGRAMS, True)
    assert list(shared.home.drained.glob("*")) == []
    # Old workers of nginx may still be announcing their end when the new ones serve already.
    wait_until("nobody announces its end", lambda: not list(shared.home.closing.glob("*")))
