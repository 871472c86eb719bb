"""One process from its listening socket to its exit: start, serve, drain."""

import asyncio
import logging
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from services.api.app import make_app
from services.api.intake import Intake
from services.api.ledger import LedgerError, open_ledger
from services.api.service import Service
from services.api.settings import Settings
from services.identity import current
from services.rows import Rows

log = logging.getLogger("bulkhead.api")

BACKLOG = 1024
# Longer than nginx keeps an idle connection to us (keepalive_timeout, 60 s): whoever closes first
# must be the one that sends requests, or a request meets a connection that is being closed.
IDLE_TIMEOUT_S = 75.0
BODY_TIMEOUT_S = 60.0
MAX_HEADER_BYTES = 64 * 1024
MAX_BUFFER_BYTES = 1024 * 1024
# How long a draining process waits for clients to end their idle connections by themselves.
LINGER_S = 1.0
ACCEPT_TURNS = 64
POLL_S = 0.01
# After its first beat a process is sent requests within this time, if any wait.
SETTLE_S = 0.04
# So long it may keep others from booting when it has work.
CALM_S = 0.5


class StartError(Exception):
    """This process cannot serve; the message says why in one line."""


class Server(HTTPServer):
    """An HTTP server that knows how many connections are open."""

    open_connections = 0

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """Serve a new connection."""
        self.open_connections += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Forget a connection that was closed."""
        super().on_close(server_conn)
        self.open_connections -= 1


async def serve(settings: Settings, booted: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `booted` is called when it serves.

    Raises:
        StartError: a file cannot be opened or the address cannot be bound.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_once, stop)
    # The port opens last: whoever can connect meets a process that can do its work.
    service = _open(settings)
    with _admin_socket(service):
        await _serve_public(service, stop, booted)


async def _serve_public(service: Service, stop: asyncio.Event, booted: Callable[[], None]) -> None:
    settings = service.settings
    sockets = _bind(settings)
    server = Server(
        Intake(make_app(service), service),
        idle_connection_timeout=IDLE_TIMEOUT_S,
        body_timeout=BODY_TIMEOUT_S,
        max_header_size=MAX_HEADER_BYTES,
        max_buffer_size=MAX_BUFFER_BYTES,
        # Intake limits bodies; Tornado's own limit would answer before it.
        max_body_size=sys.maxsize,
    )
    server.add_sockets(sockets)
    service.notifier.ready(asyncio.get_running_loop().call_later)
    calm = asyncio.create_task(_when_calm(service, booted))
    service.metrics.watch_loop()
    identity = service.identity
    log.info("%s %s listens at %s", identity.instance, identity.boot, settings.address)
    await stop.wait()
    calm.cancel()
    await drain(server, sockets, service)


async def _when_calm(service: Service, booted: Callable[[], None]) -> None:
    """Call `booted` when what waited for an instance has been served, or after a while.

    Requests that waited come all at once, and would have to share the processors with the next
    boot, which nobody waits for any more.
    """
    deadline = time.monotonic() + CALM_S
    await asyncio.sleep(SETTLE_S)
    while service.in_flight and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
    booted()


async def drain(server: Server, sockets: list[socket.socket], service: Service) -> None:
    """Finish what is in flight, but within the grace time, then close everything.

    New requests on open connections are still answered, each with `Connection: close`. At the end
    connections that stay idle are closed. A request that its client sends at that very moment is
    lost: HTTP/1.1 has no way to announce the end of an idle connection. A proxy avoids this by
    taking the instance out of its configuration before it sends the signal.
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

    The kernel resets what is still in a queue when its socket is closed. So the queues are emptied
    first, and the caller closes the sockets in the same turn of the loop in which they were seen
    empty. What arrives in the few microseconds between is lost, and so are handshakes that a
    client completes then: only a listening socket that outlives this process could prevent that.
    """
    waiting = select.poll()
    for listening in sockets:
        waiting.register(listening, select.POLLIN)
    for _ in range(ACCEPT_TURNS):
        if not waiting.poll(0):
            return
        await asyncio.sleep(0)


def _stop_once(stop: asyncio.Event) -> None:
    """Begin to drain; from here on a second signal ends the process at once."""
    stop.set()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)


def _open(settings: Settings) -> Service:
    identity = current()
    if settings.admin_dir:
        from services.admin_socket import why_not_start  # production boots without it

        if reason := why_not_start(settings.admin_dir, identity.instance):
            raise StartError(reason)
    try:
        rows = Rows(settings.rows, identity)
    except OSError as error:
        raise StartError(f"cannot open the row file {settings.rows}: {error.strerror}") from error
    # Who rotates the row file renames it and sends this.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, rows.reopen)
    try:
        ledger = open_ledger(settings.ledger_url, settings.ledger_password, identity)
    except LedgerError as error:
        raise StartError(str(error)) from error
    return Service(identity, settings, rows, ledger)


@contextmanager
def _admin_socket(service: Service) -> Iterator[None]:
    """Serve the admin socket meanwhile, if there is a folder for it."""
    folder = service.settings.admin_dir
    if not folder:
        yield
        return
    from services.admin_socket import MAX_BODY, listen, remove  # production boots without it

    def answer(request: HTTPServerRequest) -> None:
        from services.api import admin  # by the first request: most processes are told nothing

        admin.answer(service, request)

    try:
        listening = listen(folder, service.identity)
    except OSError as error:
        reason = error.strerror or error
        raise StartError(f"cannot open an admin socket in {folder}: {reason}") from error
    server = HTTPServer(answer, max_body_size=MAX_BODY)
    server.add_socket(listening)
    try:
        yield
    finally:
        remove(listening)
        server.stop()


def _bind(settings: Settings) -> list[socket.socket]:
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {settings.address}: {error.strerror}") from error
