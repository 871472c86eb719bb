"""Making supervisord's loop turn, without waiting for anything."""

import socket
from contextlib import suppress
from pathlib import Path


def turn(path: Path) -> None:
    """Connect to supervisord's socket and hang up.

    It turns once for the connection, and at the end of that turn reaps who has died; it turns once
    more for the hang-up, and at the begin of what follows starts who has died after `startsecs`.
    """
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as connection, suppress(OSError):
        connection.connect(str(path))
