"""The gunicorn worker of the web service: gevent's own, with an end that loses nothing.

gunicorn's gevent worker notices SIGTERM up to a second late, then closes the listener over the
connections that wait in the kernel's queue (they are reset), and then waits out the whole grace
time if the proxy keeps a single idle connection. When its master dies it exits within a second and
drops what is in flight. Here one rule holds for every end: stop accepting, take over what the
kernel has accepted, answer all that has begun, close what is idle, leave. SIGTERM begins it at
once; a dead master too, unless somebody is there to let the worker go when a new one serves.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

from services import identity
from services.gently import Gently
from services.notify import Notifier
from services.web.admin import AdminServer
from services.web.settings import Settings

if TYPE_CHECKING:  # the master imports this module, and must not import Flask before the fork
    from services.web.instance import Instance

# How long a connection that carries no request may live on while draining. The proxy uses its busy
# connections within this time, and each answer on them says `Connection: close`; what is still idle
# after it is unlikely to carry a request at the very moment when it is closed.
IDLE_LINGER_S = 0.5
READABLE = 1

Connection: TypeAlias = "gevent.Greenlet[..., Any]"


class DrainingWorker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """One worker process; `self.alive` turns False the moment it is told to stop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        settings = Settings.from_environment()
        self._grace_s, self._stray_s = settings.grace_s, settings.stray_s
        self._admin_dir = settings.admin_dir
        self._master_gone = False
        self._idle: dict[Connection, gevent.Timeout] = {}

    def patch(self) -> None:
        """gevent's patching of the standard library, without its search for plug-ins.

        For each of a dozen modules gevent reads the metadata of every installed package twice, to
        ask whether one wants to change the patching; none does, and it was a fifth of the boot.
        """
        self._gently = Gently(os.environ)
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
        self._gently.end()
        instance: Instance = self.wsgi.extensions["instance"]
        instance.draining = lambda: not self.alive
        # Who rotates the row file renames it and sends this. The log is stderr: nothing to reopen.
        gevent.signal_handler(signal.SIGUSR1, instance.rows.reopen)
        # Here and not in `run`: a worker that cannot do it has not booted, which ends its master.
        self._admin: AbstractContextManager[object] = nullcontext()
        if self._admin_dir:
            self._admin = closing(AdminServer(self._admin_dir, instance))

    def stop(self) -> None:
        """Begin to drain."""
        self.alive = False
        self._stop.set()

    def run(self) -> None:
        """Serve until told to stop, then drain."""
        with self._admin:
            self.serve()

    def serve(self) -> None:
        """Serve the listeners until told to stop, then drain."""
        pool = Pool(self.cfg.worker_connections)
        self._notifier = Notifier.from_environment()
        servers = [self.listen(listener, pool) for listener in self.sockets]
        self.watch_master()
        self._notifier.ready(gevent.spawn_later)
        while self.alive:
            self.notify()
            # Before the watch began, the master may have died and its pid passed to a stranger.
            if os.getppid() != self.ppid:
                self.master_gone()
            self._stop.wait(timeout=1.0)
        self.drain(servers, pool)

    def listen(self, listener: Any, pool: Pool) -> StreamServer:
        """Accept connections from `listener`, each in a greenlet of `pool`."""
        listener.setblocking(True)
        handle = partial(self.handle, ListenerName(listener.getsockname()))
        server = StreamServer(listener, handle=handle, spawn=pool)
        # One connection per wake-up, so that the workers that share the listener share the load.
        server.max_accept = 1
        server.start()
        return server

    def watch_master(self) -> None:
        """See at once when the master is gone."""
        try:
            master = os.pidfd_open(self.ppid)
        except ProcessLookupError:
            self.master_gone()
            return
        watcher = gevent.get_hub().loop.io(master, READABLE)

        def master_died() -> None:
            watcher.stop()
            self.master_gone()

        watcher.start(master_died)

    def master_gone(self) -> None:
        """The master is gone: drain, for its successor needs the port, or serve until that serves.

        A successor that inherits the port needs no haste. Who sees it serve sends SIGTERM; should
        nobody, the worker does not stay for longer than it was told.
        """
        if self._master_gone:
            return
        self._master_gone = True
        self.log.error(
            "Master %s is gone, worker %s serves for %g s more", self.ppid, self.pid, self._stray_s
        )
        if self._stray_s:
            gevent.spawn_later(self._stray_s, self.stop)
        else:
            self.stop()

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
            self._notifier.turn()  # this connection's last request is done, and below: one begins
            try:
                yield
            finally:
                del self._idle[greenlet]
                self._notifier.turn()

    def drain(self, servers: list[StreamServer], pool: Pool) -> None:
        """Answer what has begun, for the grace time at most."""
        self._notifier.stopping()
        deadline = time.monotonic() + self._grace_s
        for server in servers:
            server.stop_accepting()
            # Closing the listener resets what waits in its queue, so that is taken over first.
            while not pool.full() and (connection := server.do_read()) is not None:
                server.do_handle(*connection)
            server.close()
        pool.join(timeout=min(IDLE_LINGER_S, self._grace_s))
        gevent.get_hub().loop.run_callback(self.close_idle)
        while len(pool) and (left := deadline - time.monotonic()) > 0:
            self.notify()
            pool.join(timeout=min(1.0, left))
        if len(pool):
            self.log.warning(
                "Worker %s drops %d requests: not done after %g s",
                self.pid,
                len(pool),
                self._grace_s,
            )

    def close_idle(self) -> None:
        """Let every idle connection's wait end now, as if its keep-alive time were over.

        Runs in the event loop itself: no request can begin between the look and the throw.
        """
        for greenlet, timeout in list(self._idle.items()):
            greenlet.throw(timeout)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """gunicorn's own answer to a request that the application could not answer, identified."""
        given = dict(getattr(req, "headers", ())).get("X-REQUEST-ID")
        headers = identity.current().headers() | {"X-Request-ID": identity.request_id(given)}
        super().handle_error(req, Identified(client, headers), addr, exc)


def guard_forks() -> None:
    """Make a SIGTERM end a worker that has just been forked; called once, in the master.

    A child inherits the master's handlers, which only take a note for the master. A SIGTERM that
    met it before its own handlers were in place would be lost, and the stop would last until the
    master's SIGKILL. Nothing has begun by then, so dying is right.
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


@dataclass(frozen=True)
class ListenerName:
    """All that gunicorn asks a listener about while it handles a connection; that may be closed."""

    address: Any

    def getsockname(self) -> Any:
        """Where the listener listened."""
        return self.address


class Identified:
    """A client's socket that adds `headers` to the one response that is written through it."""

    def __init__(self, client: Any, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = headers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, response: bytes) -> None:
        """Send `response`, with the headers after its status line."""
        status_line, _, rest = response.partition(b"\r\n")
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        self._client.sendall(status_line + b"\r\n" + lines.encode() + rest)
