"""One command at a time may change a stack."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bulkhead.errors import StateError
from bulkhead.render.paths import Home


@contextmanager
def lock(home: Home) -> Iterator[None]:
    """Hold the stack in `home` for this command; the kernel lets go of it if the command dies.

    Raises:
        StateError: another command holds it, named by its pid.
    """
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home.run / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StateError(
                f"another command (pid {file.read().strip()}) is changing this stack; "
                "wait for it to end"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
