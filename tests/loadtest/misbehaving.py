"""A TCP server that does to each request what the request's path says, and counts what it saw.

With a `script` the path does not matter: the requests get the behaviours of the script in turn.
"""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Self

LATE_S = 0.3
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Seen:
    """One request that arrived in full."""

    method: str
    path: str
    id: str
    connection: int


@dataclass
class Misbehaving:
    """Use it as a context manager; `seen` grows while it serves."""

    script: tuple[str, ...] = ()
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self._ended = threading.Event()
        self._turns = count()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in (self._listener, *self._open):
            sock.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def counts(self) -> Counter[str]:
        """How often each request id arrived."""
        return Counter(request.id for request in self.seen)

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):
            while not self._ended.is_set():
                sock, _ = self._listener.accept()
                number += 1
                self._open.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, number))
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError):
            for method, path, request_id in requests(sock):
                self.seen.append(Seen(method, path, request_id, number))
                turn = next(self._turns)
                name = self.script[turn % len(self.script)] if self.script else path
                BEHAVIOURS[name](sock, self._ended)


def requests(sock: socket.socket) -> Iterator[tuple[str, str, str]]:
    """Method, path and X-Request-ID of each request on a connection, read in full, body too."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = sock.recv(65_536)
            if not data:
                return
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(fields.get("content-length", "0"))
        while len(buffer) < length:
            buffer += sock.recv(65_536)
        buffer = buffer[length:]
        method, path, _ = first.split(" ")
        yield method, path, fields["x-request-id"]


def answer(data: bytes) -> Callable[[socket.socket, threading.Event], None]:
    return lambda sock, _ended: sock.sendall(data)


def answer_and_close(data: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def act(sock: socket.socket, _ended: threading.Event) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_RDWR)

    return act


def close(sock: socket.socket, _ended: threading.Event) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def reset(sock: socket.socket, _ended: threading.Event) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def close_when_idle(sock: socket.socket, _ended: threading.Event) -> None:
    sock.sendall(OK)
    time.sleep(0.02)
    sock.shutdown(socket.SHUT_RDWR)


def speak_when_idle(sock: socket.socket, _ended: threading.Event) -> None:
    sock.sendall(OK)
    time.sleep(0.02)
    sock.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")


def answer_in_pieces(sock: socket.socket, _ended: threading.Event) -> None:
    for byte in OK:
        sock.sendall(bytes([byte]))
        time.sleep(0.002)


def stay_silent(_sock: socket.socket, ended: threading.Event) -> None:
    ended.wait()


def answer_late(sock: socket.socket, ended: threading.Event) -> None:
    ended.wait(LATE_S)
    sock.sendall(OK)


def trickle(sock: socket.socket, ended: threading.Event) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not ended.wait(0.05):
        sock.sendall(b"x")


BEHAVIOURS = {
    "/ok": answer(OK),
    "/ok-and-close": answer_and_close(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"),
    "/chunked": answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "/pieces": answer_in_pieces,
    "/head": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    "/no-content": answer(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "/interim": answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK),
    "/reset": reset,
    "/close": close,
    "/idle": close_when_idle,
    "/idle-408": speak_when_idle,
    "/silent": stay_silent,
    "/late": answer_late,
    "/trickle": trickle,
    "/short": answer_and_close(
        b"HTTP/1.1 200 OK\r\nX-Instance: api-1\r\nContent-Length: 9\r\n\r\nab"
    ),
    "/short-head": answer_and_close(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "/short-chunks": answer_and_close(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    ),
    "/garbage": answer(b"220 mail.example ESMTP\r\n"),
    "/two-answers": answer(OK + OK),
    "/not-found": answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
}


@contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that is taken, so that no one else can serve it, and refuses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def not_accepting() -> Iterator[str]:
    """The URL of a port whose queue is full: a connection attempt gets no answer at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for sock in waiting:
                sock.close()
