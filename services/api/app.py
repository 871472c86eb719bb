"""One API process from its listening socket to its exit: routes, start, serve, drain."""

import asyncio
import logging
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import responses
from typing import cast

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import url

from services.api.http import handlers
from services.api.http.entries import Entries, EntryById
from services.api.http.intake import Intake, NamedStream
from services.api.ledger.tables import LedgerStore
from services.api.service import Service
from services.common.identity import Identity, current
from services.common.rows import Rows
from services.common.settings import ApiSettings

log = logging.getLogger("bulkhead.api")

BACKLOG = 1024
# Longer than nginx keeps an idle connection to us (keepalive_timeout, 60 s): the side that sends
# requests must close first, or a request meets a connection that is being closed.
IDLE_TIMEOUT_S = 75.0
BODY_TIMEOUT_S = 60.0
# A request that the proxy lets through must not fail here: four buffers of proxy.max_header_kb,
# which is at most 64, and the name of the host once more.
MAX_HEADER_BYTES = 384 * 1024
MAX_BUFFER_BYTES = 1024 * 1024
# How long a draining process waits for clients to close their idle connections.
LINGER_S = 1.0
ACCEPT_TURNS = 64
POLL_S = 0.01
# If requests wait, they reach a process within this time after its first heartbeat.
SETTLE_S = 0.04
# How long a process that has work may keep others from booting.
CALM_S = 0.5

ROUTES = [
    url(r"/healthz", handlers.Healthz),
    url(r"/readyz", handlers.Readyz),
    url(r"/metrics", handlers.MetricsPage),
    url(r"/api/v1/whoami", handlers.WhoamiHandler),
    url(r"/api/v1/work", handlers.Work),
    url(r"/api/v1/fanout", handlers.Fanout),
    url(r"/api/v1/openapi\.json", handlers.OpenApi),
    url(r"/api/v1/entries", Entries),
    url(r"/api/v1/entries/([^/]*)", EntryById),
]


class InstanceStartError(Exception):
    """This process cannot serve; the message says why in one line."""


class ApiServer(HTTPServer):
    """An HTTP server that knows how many connections are open, and names itself in every answer."""

    open_connections = 0
    identity: Identity

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """Serve a new connection."""
        self.open_connections += 1
        super().handle_stream(cast(IOStream, NamedStream(stream, self.identity)), address)

    def on_close(self, server_conn: object) -> None:
        """Forget a connection that was closed."""
        super().on_close(server_conn)
        self.open_connections -= 1


async def serve(settings: ApiSettings, booted: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. It calls `booted` once it serves.

    InstanceStartError if a file cannot be opened or the address cannot be bound. LedgerError if the
    ledger cannot be opened.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_once, stop)
    # The port opens last: a client that can connect meets a process that can do its work.
    service = _open(settings)
    identity = service.identity
    application = Intake(
        ROUTES,
        service=service,
        default_handler_class=handlers.NotFound,
        # Every request is in the proxy's log and, if switched on, in the service rows. A log
        # line would also wake supervisord and so falsify what is measured about it.
        log_function=lambda _handler: None,
    )
    server = ApiServer(
        application,
        idle_connection_timeout=IDLE_TIMEOUT_S,
        body_timeout=BODY_TIMEOUT_S,
        max_header_size=MAX_HEADER_BYTES,
        max_buffer_size=MAX_BUFFER_BYTES,
        # Intake limits bodies; Tornado's own limit would answer before it.
        max_body_size=sys.maxsize,
    )
    server.identity = identity
    with _admin_socket(service):
        host, port = settings.host_and_port
        with _must(f"listen on {settings.address}"):
            sockets = bind_sockets(port, host, backlog=BACKLOG)
        server.add_sockets(sockets)
        service.notifier.ready(asyncio.get_running_loop().call_later)
        calm = asyncio.create_task(_when_calm(service, booted))
        service.watch_loop()
        log.info("%s %s listens at %s", identity.instance, identity.boot, settings.address)
        await stop.wait()
        calm.cancel()
        await drain(server, sockets, service)


async def _when_calm(service: Service, booted: Callable[[], None]) -> None:
    """Call `booted` once the requests that waited for an instance are served, or after a while.

    Those requests come all at once, and would have to share the processors with the next boot,
    which no request waits for any more.
    """
    deadline = time.monotonic() + CALM_S
    await asyncio.sleep(SETTLE_S)
    while service.in_flight and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
    booted()


async def drain(server: ApiServer, sockets: list[socket.socket], service: Service) -> None:
    """Finish the requests in flight, within the grace time, then close everything.

    New requests on open connections are still answered, each with `Connection: close`. At the end
    idle connections are closed. A request that is sent at that very moment is lost, as always in
    HTTP/1.1: a proxy must choose the instance no more before it sends the signal.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    deadline = started + service.settings.grace_s
    service.draining = True
    service.notifier.stopping()
    # All connections share this object and read it at the start of each request.
    server.conn_params.no_keep_alive = True
    await _accept_waiting(sockets)
    server.stop()
    linger = min(started + LINGER_S, deadline)
    while loop.time() < deadline and (
        service.in_flight or (server.open_connections and loop.time() < linger)
    ):
        await asyncio.sleep(POLL_S)
    if service.in_flight:
        log.warning("the grace time is over: %d requests are cut", len(service.in_flight))
    await server.close_all_connections()
    with suppress(TimeoutError):
        await asyncio.wait_for(service.ledger.close(), max(deadline - loop.time(), LINGER_S))
    log.info("%s drained in %.3f s", service.identity.instance, loop.time() - started)


async def _accept_waiting(sockets: list[socket.socket]) -> None:
    """Let the loop accept every connection that waits in the accept queues.

    The kernel resets the connections in a queue when its socket is closed. So the caller closes the
    sockets in the same turn of the loop that saw the queues empty. A connection that arrives in the
    microseconds between is lost: only a socket that outlives this process could prevent that.
    """
    waiting = select.poll()
    for listening in sockets:
        waiting.register(listening, select.POLLIN)
    for _ in range(ACCEPT_TURNS):
        if not waiting.poll(0):
            return
        await asyncio.sleep(0)


def _stop_once(stop: asyncio.Event) -> None:
    """Start to drain; from now on a second signal ends the process at once."""
    stop.set()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)


def _open(settings: ApiSettings) -> Service:
    identity = current()
    if settings.admin_dir:
        from services.common.fault_injection import why_not_start  # production boots without it

        if reason := why_not_start(settings.admin_dir, identity.instance):
            raise InstanceStartError(reason)
    loop = asyncio.get_running_loop()
    with _must(f"open the row file {settings.rows}"):
        rows = Rows(settings.rows, identity, loop.call_later)
    # A rotation renames the row file and sends this signal.
    loop.add_signal_handler(signal.SIGUSR1, rows.reopen)
    scheme, _, path = settings.ledger_url.partition(":///")
    ledger: LedgerStore
    # A process imports the driver of its own storage only.
    if scheme == "sqlite":
        from services.api.ledger.sqlite import SqliteLedger

        ledger = SqliteLedger(path, identity)
    else:
        from services.api.ledger.server import ServerLedger

        ledger = ServerLedger(settings.ledger_url, settings.ledger_password, identity)
    return Service(identity, settings, rows, ledger)


@contextmanager
def _must(do: str) -> Iterator[None]:
    """All inside must succeed, or this process cannot start."""
    try:
        yield
    except OSError as error:
        raise InstanceStartError(f"cannot {do}: {error.strerror or error}") from error


@contextmanager
def _admin_socket(service: Service) -> Iterator[None]:
    """Serve the admin socket meanwhile, if there is a folder for it."""
    folder = service.settings.admin_dir
    if not folder:
        yield
        return
    from services.common.fault_injection import MAX_BODY, listen, remove

    with _must(f"open an admin socket in {folder}"):
        listening = listen(folder, service.identity)
    server = HTTPServer(partial(_answer_admin, service), max_body_size=MAX_BODY)
    server.add_socket(listening)
    try:
        yield
    finally:
        remove(listening)
        server.stop()


def _answer_admin(service: Service, request: HTTPServerRequest) -> None:
    """Answer a request of the admin socket, then begin the faults that it told.

    It is no load: it leaves no row and no metric, and a drain does not wait for it.
    """
    from services.common.fault_injection import Faults, answer

    faults = service.faults = service.faults or Faults()
    connection, method = request.connection, request.method or ""
    status, headers, body = answer(service.identity, faults, method, request.path, request.body)
    assert connection is not None
    start = ResponseStartLine("HTTP/1.1", status, responses[status])
    connection.write_headers(start, HTTPHeaders(headers), body)
    connection.finish()
    # Tornado writes at once, and so short an answer whole: the kernel has it.
    faults.begin(asyncio.get_running_loop().call_later)
