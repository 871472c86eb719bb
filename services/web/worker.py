"""The gunicorn worker of the web service: gevent's own, with an end that loses nothing.

gunicorn's gevent worker notices SIGTERM up to a second late, resets the connections in the kernel's
queue, and waits out the whole grace time if the proxy keeps a single idle connection. When its
master dies it drops what is in flight. Here one rule holds for every end: stop accepting, take over
the connections that the kernel has accepted, answer all requests that have begun, close idle
connections, leave. SIGTERM starts this at once. So does the death of the master, unless a watchdog
is there: it ends the orphaned worker once a new master serves.

The master imports this module, so it must not import Flask.
"""

import html
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import responses
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer
from gevent.socket import wait_read
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

from services.common import fault_injection
from services.common.boot import LowPriorityBoot
from services.common.fault_injection import Faults
from services.common.identity import current, request_id
from services.common.notify import Notifier
from services.common.settings import WebSettings

if TYPE_CHECKING:
    from services.web.lifecycle import WorkerState

# How long a connection that carries no request may stay open while draining. The proxy uses its
# busy connections within this time, and each answer on them says `Connection: close`.
IDLE_LINGER_S = 0.5

Connection: TypeAlias = "gevent.Greenlet[..., Any]"
Start = Callable[[str, list[tuple[str, str]]], object]

# Code and resolution of the statuses with which gunicorn refuses a request.
REFUSALS = {
    400: ("request_malformed", "Send a well-formed HTTP/1.1 request."),
    403: ("forbidden", "Ask without the headers that only a proxy may send."),
    414: ("uri_too_long", "Shorten the address."),
    417: ("expectation_failed", "Send it without the header Expect."),
    431: ("headers_too_large", "Send fewer or shorter headers; 100 are allowed."),
    500: ("internal_error", "Try again; if it fails again, report the request id."),
    501: ("not_implemented", "Send the body with Content-Length or chunked."),
}
REFUSAL_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{status}</title>'
    "<h1>{status}</h1><p>{message}</p><p>{resolution}</p><p><small>Request {request}</small></p>"
    "</html>\n"
)


class DrainingWorker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """One worker process; `self.alive` turns False the moment it is told to stop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._settings = WebSettings.from_environment()
        self._master_gone = False
        self._idle: dict[Connection, gevent.Timeout] = {}

    def patch(self) -> None:
        """gevent's patching of the standard library, without its search for plug-ins.

        For each of a dozen modules gevent reads the metadata of every installed package twice, to
        ask whether one wants to change the patching; none does, and it was a fifth of the boot.
        """
        self._low_priority = LowPriorityBoot(os.environ)
        search = metadata.entry_points
        metadata.entry_points = lambda **_: ()  # type: ignore[assignment]
        try:
            super().patch()
        finally:
            metadata.entry_points = search

    def init_signals(self) -> None:
        """gunicorn's signals, with a SIGTERM that wakes the event loop at once."""
        super().init_signals()
        self._stop = Event()
        gevent.signal_handler(signal.SIGTERM, self.stop)

    def load_wsgi(self) -> None:
        """Load the application and let it know when this worker drains."""
        super().load_wsgi()
        self._low_priority.restore()
        state: WorkerState = self.wsgi.extensions["worker"]
        state.draining = lambda: not self.alive
        # A rotation renames the row file and sends this. The log is stderr: nothing to reopen.
        gevent.signal_handler(signal.SIGUSR1, state.rows.reopen)
        # Here and not in `run`: a worker that fails at it has not booted, which ends its master.
        self._cleanup = ExitStack()
        if self._settings.admin_dir:
            self._serve_admin(state)

    def _serve_admin(self, state: "WorkerState") -> None:
        """Serve the admin socket of this process beside the public listener.

        Its connections are in no pool that a drain waits for, and its requests never reach the
        application: they leave no row and no metric.
        """
        listening = fault_injection.listen(self._settings.admin_dir, state.identity)
        server = WSGIServer(listening, partial(_answer_admin, state), log=None)
        server.start()
        self._cleanup.callback(server.close)
        self._cleanup.callback(fault_injection.remove, listening)

    def stop(self) -> None:
        """Start to drain."""
        self.alive = False
        self._stop.set()

    def run(self) -> None:
        """Serve the listeners until told to stop, then drain."""
        pool = Pool(self.cfg.worker_connections)
        self._notifier = Notifier.from_environment()
        with self._cleanup:
            servers = [self.listen(listener, pool) for listener in self.sockets]
            gevent.spawn(self.watch_master)
            self._notifier.ready(gevent.spawn_later)
            while self.alive:
                self.notify()
                # Before the watch began, the master may have died and its pid been reused.
                if os.getppid() != self.ppid:
                    self.master_gone()
                self._stop.wait(timeout=1.0)
            self.drain(servers, pool)

    def listen(self, listener: Any, pool: Pool) -> StreamServer:
        """Accept connections from `listener`, each in a greenlet of `pool`."""
        listener.setblocking(True)
        # gunicorn asks the listener for its name with each connection, and it may be closed then.
        address = listener.getsockname()
        handle = partial(self.handle, SimpleNamespace(getsockname=lambda: address))
        server = StreamServer(listener, handle=handle, spawn=pool)
        # One connection per wake-up, so that the workers that share the listener share the load.
        server.max_accept = 1
        server.start()
        return server

    def watch_master(self) -> None:
        """Wait for the end of the master."""
        with suppress(ProcessLookupError):
            wait_read(os.pidfd_open(self.ppid))
        self.master_gone()

    def master_gone(self) -> None:
        """Drain, for the next master needs the port; if it inherits the port, serve on for a while.

        The watchdog sends SIGTERM to an orphaned worker once the next master serves.
        """
        if self._master_gone:
            return
        self._master_gone = True
        orphan_s = self._settings.orphan_s
        said = "Master %s is gone, worker %s serves for %g s more"
        self.log.error(said, self.ppid, self.pid, orphan_s)
        gevent.spawn_later(orphan_s, self.stop)

    def notify(self) -> None:
        """Tell the master that this worker's event loop turns."""
        Worker.notify(self)  # gevent's own version also exits when the master has died

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """gunicorn waits inside this for a connection's next request, and only there."""
        greenlet = cast(Connection, gevent.getcurrent())
        # False: the end of the wait is no error, the block is just left.
        with gevent.Timeout(self.cfg.keepalive, False) as timeout:  # type: ignore[arg-type]
            self._idle[greenlet] = timeout
            self._notifier.heartbeat_if_due()  # a request is done; below: the next one begins
            try:
                yield
            finally:
                del self._idle[greenlet]
                self._notifier.heartbeat_if_due()

    def drain(self, servers: list[StreamServer], pool: Pool) -> None:
        """Answer the requests that have begun, for the grace time at most."""
        self._notifier.stopping()
        grace_s = self._settings.grace_s
        deadline = time.monotonic() + grace_s
        for server in servers:
            server.stop_accepting()
            # Closing the listener resets the connections in its queue: take them over first.
            while not pool.full() and (connection := server.do_read()) is not None:
                server.do_handle(*connection)
            server.close()
        pool.join(timeout=min(IDLE_LINGER_S, grace_s))
        gevent.get_hub().loop.run_callback(self.close_idle)
        while len(pool) and (left := deadline - time.monotonic()) > 0:
            self.notify()
            pool.join(timeout=min(1.0, left))
        if len(pool):
            said = "Worker %s drops %d requests: not done after %g s"
            self.log.warning(said, self.pid, len(pool), grace_s)

    def close_idle(self) -> None:
        """Let every idle connection's wait end now, as if its keep-alive time were over.

        Runs in the event loop itself: no request can begin between the look and the throw.
        """
        for greenlet, timeout in list(self._idle.items()):
            greenlet.throw(timeout)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request, header and body in one send."""
        whole = WholeAnswer(sock)
        try:
            super().handle_request(listener_name, req, whole, addr)
        finally:
            whole.flush()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that gunicorn refuses, or that the application could not answer."""
        given = dict(getattr(req or getattr(exc, "req", None), "headers", ()))
        headers = current().headers() | {"X-Request-ID": request_id(given.get("X-REQUEST-ID"))}
        page = "text/html" in given.get("ACCEPT", "")
        # gunicorn would answer with a page of its own, without a name: only its status is used.
        replaced = SimpleNamespace(
            gettimeout=client.gettimeout,
            setblocking=client.setblocking,
            sendall=lambda answer: client.sendall(refusal(answer, f"{exc}.", page, headers)),
        )
        super().handle_error(req, replaced, addr, exc)


def guard_forks() -> None:
    """Make a SIGTERM end a worker that has just been forked; called once, in the master.

    A child inherits the master's handlers, which only take a note for the master. So a SIGTERM
    would be lost before its own are in place. The child has no request by then, so it may die.
    """
    stop = {signal.SIGTERM}

    def after_in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, stop),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, stop),
        after_in_child=after_in_child,
    )


class WholeAnswer:
    """A client's socket that sends the header of an answer together with what follows it.

    gunicorn sends them apart. A worker that dies in between has begun an answer, and the proxy can
    only cut it short. One that has not begun it gives to another process.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._header: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        self.flush()
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Keep the first, which is the header, and send it before the second."""
        if self._header is None:
            self._header = data
        else:
            data, self._header = self._header + data, b""
            self._client.sendall(data)

    def flush(self) -> None:
        """Send a header that nothing has followed."""
        if self._header:
            self.sendall(b"")


def refusal(answer: bytes, reason: str, page: bool, headers: Mapping[str, str]) -> bytes:
    """The response with the status of `answer`, in the form of every other error.

    `page` is whether the client wants HTML; `headers` name this process and the request.
    """
    line = answer.partition(b"\r\n")[0].decode("latin1")
    status = int(line.split(" ")[1])
    code, resolution = REFUSALS.get(status, REFUSALS[400])
    message = "This service failed to handle the request." if status == 500 else reason
    if page:
        body = REFUSAL_PAGE.format(
            status=status,
            message=html.escape(message),
            resolution=html.escape(resolution),
            request=headers["X-Request-ID"],
        )
    else:
        body = json.dumps({"error_code": code, "error_msg": message, "resolution": resolution})
    content = body.encode()
    headers = {
        **headers,
        "Content-Type": "text/html; charset=utf-8" if page else "application/json",
        "Content-Length": str(len(content)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{line}\r\n{lines}\r\n".encode() + content


def _answer_admin(state: "WorkerState", environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    """Answer; the faults that were told begin once the kernel has the body."""
    faults = state.faults = state.faults or Faults()
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    given = environ["wsgi.input"].read(fault_injection.MAX_BODY)
    status, headers, body = fault_injection.answer(state.identity, faults, method, path, given)
    start(f"{status} {responses[status]}", list(headers.items()))
    yield body
    faults.begin(gevent.spawn_later)
