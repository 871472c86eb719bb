import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkhead.testing import free_ports
from tests.services.web.browser import Browser, program
from tests.services.web.ledger_stub import LedgerStub
from tests.services.web.processes import CONF, WebInstance

StartWeb = Callable[..., WebInstance]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="session")
def ports() -> Iterator[list[int]]:
    """Ports that no other test run takes; take one with pop, and give it back."""
    with free_ports() as block:
        yield block


@pytest.fixture(scope="session")
def secret(folder: Path) -> Path:
    path = folder / "secret"
    path.write_text(secrets.token_hex(32))
    return path


@pytest.fixture(scope="session")
def running_stub() -> Iterator[LedgerStub]:
    with LedgerStub() as stub:
        yield stub


@pytest.fixture
def ledger(running_stub: LedgerStub) -> LedgerStub:
    """The stub, with nothing in it."""
    running_stub.reset()
    return running_stub


@pytest.fixture(scope="session")
def web(
    running_stub: LedgerStub, folder: Path, secret: Path, ports: list[int]
) -> Iterator[WebInstance]:
    """An instance for all tests that leave it as it is."""
    instance = WebInstance(
        ports.pop(), folder, environ(running_stub, secret), "services.web.wsgi:app"
    )
    instance.start()
    yield instance
    instance.close()


@pytest.fixture
def start_web(
    ledger: LedgerStub, tmp_path: Path, secret: Path, ports: list[int]
) -> Iterator[StartWeb]:
    """Start an instance for this test alone, with further environment variables."""
    with ExitStack() as cleanup:

        def start(
            app: str = "services.web.wsgi:app",
            conf: Path = CONF,
            prefix: Sequence[str] = (),
            **more: str,
        ) -> WebInstance:
            port = ports.pop()
            cleanup.callback(ports.append, port)
            instance = WebInstance(port, tmp_path, environ(ledger, secret) | more, app)
            instance.conf, instance.prefix = conf, prefix
            instance.start()
            cleanup.callback(instance.close)
            return instance

        yield start


@pytest.fixture
def browser(web: WebInstance, ledger: LedgerStub) -> Browser:  # noqa: ARG001 (needs an empty ledger)
    return Browser(web.port)


@pytest.fixture
def client(web: WebInstance, ledger: LedgerStub) -> Browser:  # noqa: ARG001 (needs an empty ledger)
    return program(web.port)


def environ(ledger: LedgerStub, secret: Path) -> dict[str, str]:
    return {
        "BULKHEAD_INSTANCE": "web-1",
        "BULKHEAD_PROXY_URL": ledger.url,
        "BULKHEAD_SECRET_FILE": str(secret),
        "BULKHEAD_API_TIMEOUT_S": "1",
        "BULKHEAD_GRACE_S": "3",
        "BULKHEAD_MAX_BODY_KB": "64",
    }
