"""Writing to a home: files are replaced as a whole, and links are not followed.

Standard library only, and little of it: the watchdog and the launcher's long way use it, too.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

# Raised by reading a file of JSON that was cut or garbled, or that has another shape.
BROKEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def replace(path: Path, text: str, mode: int = 0o600, *, durable: bool) -> None:
    """Write `text` to `path`, with these permissions.

    `durable`: also after a power cut the file is the old one or the new one. Without it the file
    may then be empty: enough for what means nothing after a reboot, such as pids, and quicker by
    one or two writes to the disk. Readers of such a file take a broken one for none.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    # O_EXCL: not into what a link of that name points at.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600), "wb") as out:  # noqa: PTH123 - a descriptor
            out.write(text.encode())
            out.flush()
            os.fchmod(out.fileno(), mode)
            if durable:
                os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the new name reaches the disk, too
        finally:
            os.close(folder)


def no_link(path: Path, flags: int) -> int:
    """As os.open, and makes the file; OSError (ELOOP) where a link would lead out of the folder."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def mark(path: Path) -> None:
    """Make an empty file if there is none; its name says all."""
    os.close(no_link(path, os.O_WRONLY))


def close_to_others(path: Path) -> None:
    """Let nobody else connect to a unix socket, if it is there: nginx opens its own to all."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.chmod(0o600)
