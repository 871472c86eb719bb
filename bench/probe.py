"""Watching one address from outside, by connecting: when is it back, and who answers?"""

import socket
from collections.abc import Set
from dataclasses import dataclass

from bulkhead import clock

EVERY_S = 0.001
BUSY_EVERY_S = 0.005  # while somebody answers: to ask more often would slow down who boots
ANSWER_S = 1.0
LONGEST_S = 60.0

ASK = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Return:
    """Seconds since `began` until a connect succeeded, until anybody answered 200, until a process
    that is none of the old ones did; and the longest time without an answer on the way there.
    """

    accepts_s: float
    answers_s: float
    anew_s: float
    silence_s: float


def watch(address: str, began: float, old: Set[str]) -> Return:
    """Connect to `address` again and again until a process answers whose boot is not in `old`.

    Raises:
        RuntimeError: none did within LONGEST_S.
    """
    accepts = answers = last = silence = 0.0
    while clock.now() - began < LONGEST_S:
        connection = connected(address)
        if connection is None:
            clock.pause(EVERY_S)
            continue
        accepts = accepts or clock.now() - began
        boot = answered(connection)
        if boot:
            after = clock.now() - began
            answers = answers or after
            silence, last = max(silence, after - last), after
            if boot not in old:
                return Return(accepts, answers, after, silence)
        clock.pause(BUSY_EVERY_S)
    raise RuntimeError(f"{address} was not back within {LONGEST_S:g} s")


def connected(address: str) -> socket.socket | None:
    """A connection; None where nobody listens. On loopback the kernel says so at once."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host, int(port)), ANSWER_S)
    except OSError:
        return None


def answered(connection: socket.socket) -> str:
    """The boot that answers 200 on a fresh connection, which is closed then; "" for none."""
    with connection:
        try:
            connection.sendall(ASK)
            said = b""
            while more := connection.recv(4096):
                said += more
        except OSError:
            return ""
    return boot_of(said)


def boot_of(said: bytes) -> str:
    """X-Boot of an answer; "" when it is not a 200."""
    head = said.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    if not head[0].startswith("HTTP/1.1 200 "):
        return ""
    fields = (line.partition(":") for line in head[1:])
    return next((value.strip() for name, _, value in fields if name.lower() == "x-boot"), "")
