"""What one host says of its instances to another: one datagram, signed. Pure.

    SIGNATURE
    bulkhead-1 HOST LIFE NUMBER
    SERVICE NAME ADDRESS WEIGHT STATE BOOT
    ...

The signature is HMAC-SHA256, in hexadecimal digits, of all that follows its line, with the key that
all hosts of a stack have. LIFE is when this life of a watchdog began, by its host's clock, and
NUMBER counts in it: who has heard a later one believes no earlier one, so what somebody has
recorded is worth little. The lines are those of nginx's table.
"""

import hashlib
import hmac
from dataclasses import dataclass

WORDS = "bulkhead-1"


@dataclass(frozen=True)
class Announcement:
    """All instances of a host, as its watchdog sees them at one moment."""

    host: str
    life: int  # nanoseconds since 1970
    number: int
    lines: tuple[str, ...]

    @property
    def order(self) -> tuple[int, int]:
        """Which of two announcements of a host is the later one."""
        return self.life, self.number


def pack(key: bytes, said: Announcement) -> bytes:
    """The datagram."""
    head = f"{WORDS} {said.host} {said.life} {said.number}"
    text = "".join(f"{line}\n" for line in (head, *said.lines)).encode()
    return f"{_sign(key, text)}\n".encode() + text


def unpack(key: bytes, datagram: bytes) -> Announcement | None:
    """What it says; None when nobody with the key has sent it, or it is of another version."""
    signature, _, text = datagram.partition(b"\n")
    if not hmac.compare_digest(signature, _sign(key, text).encode()):
        return None
    head, *lines = text.decode().splitlines()
    words = head.split(" ")
    if len(words) != 4 or words[0] != WORDS:
        return None
    return Announcement(words[1], int(words[2]), int(words[3]), tuple(lines))


def _sign(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()
