"""One connection that sends each request at most once: `sendall` stands in one place, in no loop.

Higher-level clients re-send silently. geventhttpclient 2.6 sends a GET, PUT or DELETE again, up to
pool size + 1 times, whenever a connection breaks before the first byte of the answer, and offers no
way to switch that off. So only its parser is used here; connecting, sending and reading are plain.

The one repetition that is harmless happens before anything is sent: an idle kept-alive connection
that the server has closed meanwhile is noticed and replaced by a fresh one.
"""

import contextlib
import time

from gevent import socket
from geventhttpclient.response import HTTPParseError, HTTPResponse

from bulkhead.records import Error

READ_BYTES = 65_536


class NoAnswerError(Exception):
    """The exchange ended without a whole answer. `error` is the class of its end."""

    def __init__(self, error: Error, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error


class Answer(HTTPResponse):
    """What has arrived of one answer, also when it never became whole."""

    def __init__(self, method: str) -> None:
        super().__init__(method=method)
        self.finals = 0

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        if self.get_code() >= 200:  # an interim 1xx answer is followed by the final one
            self.finals += 1

    @property
    def body(self) -> bytes:
        """The body's octets so far."""
        return bytes(self._body_buffer)

    def header(self, name: str) -> str:
        """The value of a header line; "" when it is absent or stands there more than once."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def header_lines(self, name: str) -> list[str]:
        """The values of all header lines of this name."""
        value = self.get(name) or []
        return [value] if isinstance(value, str) else value


class Connection:
    """A kept-alive HTTP/1.1 connection to one address, opened when needed; one exchange at a time.

    `connect_timeout_s` bounds the opening of a connection, `request_timeout_s` the whole exchange
    from the call to the last byte of the answer (the system's own name look-up excepted).
    """

    def __init__(
        self, address: tuple[str, int], connect_timeout_s: float, request_timeout_s: float
    ) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_s = request_timeout_s
        self._idle: socket.socket | None = None

    def exchange(self, request: bytes, answer: Answer) -> None:
        """Send `request` once and read its whole answer into `answer`.

        Raises:
            NoAnswerError: there is no whole answer; the request may or may not have had its effect,
                except when `error` is "refused": then nothing was sent.
        """
        try:
            self._exchange(request, answer, time.monotonic() + self._request_timeout_s)
        except ConnectionRefusedError as error:
            raise NoAnswerError("refused", "no one listens there") from error
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
            raise NoAnswerError("reset", "the peer reset the connection") from error
        except TimeoutError as error:
            raise NoAnswerError("timeout", "no whole answer in time") from error
        except HTTPParseError as error:
            raise NoAnswerError("other", f"not an HTTP answer: {error}") from error
        except OSError as error:
            raise NoAnswerError("other", str(error)) from error

    def close(self) -> None:
        """Close the idle connection, if there is one."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _exchange(self, request: bytes, answer: Answer, deadline: float) -> None:
        sock = self._take_idle() or self._connect(deadline)
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(request)
            while not answer.finals:
                sock.settimeout(_left(deadline))
                data = sock.recv(READ_BYTES)
                if data:
                    answer.feed(data)
                else:
                    _end_of_stream(answer)
            if answer.finals > 1:
                raise NoAnswerError("other", "more than one answer to one request")
            if not answer.should_close():
                self._idle = sock
        finally:
            # Whatever ended this exchange early, a half-used connection is never used again.
            if self._idle is not sock:
                sock.close()

    def _take_idle(self) -> "socket.socket | None":
        """The idle connection when the server still holds it open, else None."""
        sock, self._idle = self._idle, None
        if sock is None:
            return None
        sock.settimeout(0.0)
        try:
            # An end of stream or bytes that no one asked for: either way it is of no use any more.
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return sock
        except OSError:
            pass
        sock.close()
        return None

    def _connect(self, deadline: float) -> "socket.socket":
        sock = socket.create_connection(
            self._address, timeout=min(self._connect_timeout_s, _left(deadline))
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _end_of_stream(answer: Answer) -> None:
    """Tell the parser; only an answer that is delimited by the end of the stream is whole then."""
    with contextlib.suppress(HTTPParseError):
        answer.feed(b"")
    if not answer.finals:
        raise NoAnswerError("closed", "the peer closed before the whole answer")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
