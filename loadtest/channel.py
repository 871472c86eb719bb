"""A kept-alive HTTP/1.1 connection that sends each request exactly once, driven by the event loop.

Higher-level clients re-send silently. geventhttpclient 2.6 sends a GET, PUT or DELETE again, up to
pool size + 1 times, whenever a connection breaks before the first byte of the answer, and offers no
way to switch that off. So only its parser is used here; connecting, sending and reading are plain.

The one repetition that is harmless happens before anything is sent: an idle kept-alive connection
that the server has closed meanwhile is replaced by a fresh one.
"""

import errno
import socket
from collections.abc import Callable
from select import POLLIN
from socket import IPPROTO_TCP, SO_ERROR, SOL_SOCKET, TCP_NODELAY
from typing import Any, TypeAlias

import gevent
from gevent import monkey
from geventhttpclient.response import HTTPParseError

from bulkhead.records import Error
from loadtest.answer import NO_REPLY, Answer, Reply, parsed, short_cut
from loadtest.requests import Request
from loadtest.system import shortage

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

Address: TypeAlias = tuple[int, tuple[Any, ...]]  # family and address, as the system names them

# Called when a request has ended, exactly once for each. With an error there was no whole answer,
# and the reply holds as much of one as came.
Ended: TypeAlias = Callable[["Channel", Request, Error, Reply], None]
Failed: TypeAlias = Callable[[BaseException], None]


def resolve(host: str, port: int) -> Address:
    """The first address of a host; OSError if it has none."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address


def started(watcher: Any, callback: Callable[[], None], failed: Failed) -> Any:
    """Have the event loop call `callback` whenever its `watcher` says so, until that is closed.

    What it raises goes to `failed`: the event loop would print it, and the request would never end.
    """

    def guarded() -> None:
        try:
            callback()
        except BaseException as error:
            failed(error)

    watcher.start(guarded)
    return watcher


class Channel:
    """A kept-alive HTTP/1.1 connection, opened when needed; one `request` in flight at a time.

    `address` is asked at each opening. A shortage of the load generator itself is raised by
    `begin`, or goes to `failed`; `connecting` is then whether nothing of the request was sent.
    """

    def __init__(self, address: Callable[[], Address], ended: Ended, failed: Failed) -> None:
        self.request: Request | None = None
        self.connecting = False
        self._address = address
        self._ended = ended
        self._failed = failed
        self._loop: Any = gevent.get_hub().loop
        self._sock: Any = None
        self._poll: Any = None
        self._reading: Any = None
        self._writing: Any = None
        self._answer: Answer | None = None  # read so far by the full parser
        self._unsent = b""

    def begin(self, request: Request, text: bytes, answer: Answer | None = None) -> None:
        """Send `text`, the bytes of `request`. It may have ended before this returns.

        If an `answer` is given, the full parser reads into it, with all headers.
        """
        self.request = request
        # Readable means an end of stream, an error or bytes that no one asked for: of no use.
        if self._sock is not None and self._poll.poll(0):
            self.close()
        self._answer = answer
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
            self._ended(self, request, error, NO_REPLY if answer is None else parsed(answer))

    def close(self) -> None:
        """Close the connection, if there is one."""
        for watcher in (self._reading, self._writing):
            if watcher is not None:
                watcher.close()
        if self._sock is not None:
            self._sock.close()
        self._sock = self._poll = self._reading = self._writing = self._answer = None
        self._unsent, self.connecting = b"", False

    def _connect(self) -> None:
        self.connecting = True
        family, address = self._address()
        self._sock = sock = _socket(family)
        sock.setblocking(False)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._poll = _poll()
        self._poll.register(sock, POLLIN)
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")
        self._writing = self._watch(WRITABLE, self._on_writable)

    def _watch(self, events: int, callback: Callable[[], None]) -> Any:
        return started(self._loop.io(self._sock.fileno(), events), callback, self._failed)

    def _on_writable(self) -> None:
        self._writing.close()
        self._writing = None
        try:
            if self.connecting:
                code = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                self.connecting = False
                # From now on until the end, idle or not: no call of the kernel for each request.
                self._reading = self._watch(READABLE, self._on_readable)
            self._send(self._unsent)
        except OSError as error:
            self.give_up(_kind_of(error))

    def _send(self, text: bytes) -> None:
        """Hand as much of `text` to the kernel as it takes; none of it was handed over before."""
        try:
            taken = self._sock.send(text)
        except BlockingIOError:
            taken = 0
        self._unsent = text[taken:]
        if self._unsent:
            self._writing = self._watch(WRITABLE, self._on_writable)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.give_up(_kind_of(error))
            return
        request = self.request
        if request is None:  # idle: an end of stream, or bytes that no one asked for
            self.close()
        elif self._answer is not None:
            self._parse(request, self._answer, data)
        elif not data:
            self.give_up("closed")
        else:
            method = request.kind.method
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
    """How the request ended. A shortage of the load generator is raised: it ends the load."""
    if shortage(error):
        raise error
    return _ERRORS.get(error.errno, "other")
