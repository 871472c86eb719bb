"""One connection of an open-loop load, driven by the event loop without a greenlet of its own.

Each request is sent exactly once: what the kernel did not take at once is continued where it
stopped, never begun again. As in loadtest.wire, a kept-alive connection is looked at before it is
used, and replaced when the server has closed it: that is harmless, for nothing was sent.
"""

import errno
from collections.abc import Callable
from select import POLLIN
from socket import IPPROTO_TCP, SO_ERROR, SOL_SOCKET, TCP_NODELAY
from typing import Any, Protocol, TypeAlias

from gevent import monkey
from geventhttpclient.response import HTTPParseError

from bulkhead.records import Error
from loadtest.reply import NOTHING, Reply, parsed, short_cut
from loadtest.stencil import Request
from loadtest.wire import Answer

# The plain ones: here nothing ever waits, so gevent's would only add their own steps to each call.
_socket: Any = monkey.get_original("socket", "socket")
_poll: Any = monkey.get_original("select", "poll")

READ_BYTES = 65_536
READABLE, WRITABLE = 1, 2  # what a watcher of the event loop waits for

_ERRORS: dict[int | None, Error] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
}
# What the generator itself has run out of: files, ports, memory.
_ITS_OWN = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

Address: TypeAlias = tuple[int, tuple[Any, ...]]  # family and address, as the system names them

# Has the event loop call a function whenever a descriptor is ready, until the result is closed.
Watch: TypeAlias = Callable[[int, int, Callable[[], None]], Any]


class Ended(Protocol):
    """Told that a request has ended, exactly once for each.

    With an `error` there was no whole answer, and `reply` holds as much of one as came.
    """

    def __call__(  # noqa: D102 (the class says it)
        self, channel: "Channel", request: Request, error: Error, reply: Reply
    ) -> None: ...


class Channel:
    """A kept-alive HTTP/1.1 connection, opened when needed; one `request` in flight at a time."""

    __slots__ = (
        "_address", "_answer", "_connecting", "_ended", "_poll", "_reading", "_sock",
        "_unsent", "_watch", "_writing", "request",
    )  # fmt: skip

    def __init__(self, watch: Watch, address: Address, ended: Ended) -> None:
        self.request: Request | None = None
        self._watch = watch
        self._address = address
        self._ended = ended
        self._sock: Any = None
        self._poll: Any = None
        self._reading: Any = None
        self._writing: Any = None
        self._answer: Answer | None = None  # read so far by the full parser
        self._unsent = b""
        self._connecting = False

    def begin(self, request: Request, text: bytes) -> None:
        """Send `text`, the octets of `request`. It may have ended before this returns."""
        self.request = request
        # Readable means an end of stream, an error or octets that no one asked for: of no use.
        if self._sock is not None and self._poll.poll(0):
            self.close()
        try:
            if self._sock is not None:
                self._send(text)
            else:
                self._unsent = text
                self._connect()
        except OSError as error:
            self.give_up(_kind_of(error))

    def give_up(self, error: Error) -> None:
        """End the request in flight without an answer; the connection is not used again."""
        request, answer = self.request, self._answer
        self.close()
        if request is not None:
            self.request = None
            self._ended(self, request, error, NOTHING if answer is None else parsed(answer))

    def close(self) -> None:
        """Close the connection, if there is one."""
        for watcher in (self._reading, self._writing):
            if watcher is not None:
                watcher.close()
        if self._sock is not None:
            self._sock.close()
        self._sock = self._poll = self._reading = self._writing = self._answer = None
        self._unsent, self._connecting = b"", False

    def _connect(self) -> None:
        family, address = self._address
        self._sock = sock = _socket(family)
        sock.setblocking(False)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._poll = _poll()
        self._poll.register(sock, POLLIN)
        self._connecting = True
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")
        self._await_writable()

    def _await_writable(self) -> None:
        if self._writing is None:
            self._writing = self._watch(self._sock.fileno(), WRITABLE, self._on_writable)

    def _on_writable(self) -> None:
        self._writing.close()
        self._writing = None
        try:
            if self._connecting:
                code = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                self._connecting = False
                # From now on until the end, idle or not: no call of the kernel for each request.
                self._reading = self._watch(self._sock.fileno(), READABLE, self._on_readable)
            self._send(self._unsent)
        except OSError as error:
            self.give_up(_kind_of(error))

    def _send(self, text: bytes) -> None:
        """Hand to the kernel what it takes of `text`, which no one has handed to it before."""
        try:
            taken = self._sock.send(text)
        except BlockingIOError:
            taken = 0
        self._unsent = text[taken:]
        if self._unsent:
            self._await_writable()

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.give_up(_kind_of(error))
            return
        request = self.request
        if request is None:  # idle: an end of stream, or octets that no one asked for
            self.close()
        elif self._answer is not None:
            self._parse(request, self._answer, data)
        elif not data:
            self.give_up("closed")
        else:
            method = request.stencil.kind.method
            reply = short_cut(data) if method != "HEAD" else None
            if reply is not None:
                self._end(request, reply)
            else:
                self._answer = Answer(method)
                self._parse(request, self._answer, data)

    def _parse(self, request: Request, answer: Answer, data: bytes) -> None:
        """Let the full parser read on. No data is the end of the stream: it ends some answers."""
        error: Error = ""
        try:
            answer.feed(data)
        except HTTPParseError:
            error = "other" if data else ""
        if not data and not answer.finals:
            error = "closed"
        if error or answer.finals > 1:
            self.give_up(error or "other")
        elif answer.finals:
            self._end(request, parsed(answer))

    def _end(self, request: Request, reply: Reply) -> None:
        if self._unsent or not reply.reusable:
            self.close()
        self.request = self._answer = None
        self._ended(self, request, "", reply)


def _kind_of(error: OSError) -> Error:
    """How the request ended. What says nothing about the server is raised: it ends the load."""
    if error.errno in _ITS_OWN:
        raise error
    return _ERRORS.get(error.errno, "other")
