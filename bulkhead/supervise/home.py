"""The home folder of a stack: ours alone, changed by one command at a time, made ready, cleared.

Whoever else can write there decides what the stack runs, also one of root's.
"""

import fcntl
import os
import pwd
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bulkhead.atomic import no_link
from bulkhead.errors import StateError
from bulkhead.render.files import File, write_all
from bulkhead.render.paths import Home

Say = Callable[[str], None]  # tells the operator a line of progress

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
MOST_LINES = 5  # about what is in the home
KEY_CHARACTERS = 32  # at least, as the watchdog has it (watchdog/hosts.py)


def refuse_strangers_home(home: Home) -> None:
    """Raise StateError if the home folder belongs to another user, or others may write to it."""
    try:
        status = home.path.stat()
    except (FileNotFoundError, NotADirectoryError):  # the command that makes it says what is wrong
        return
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{home.path}: is no folder: set stack.home to one, or remove it")
    if wrong := _wrong(home.path, status):
        raise StateError(wrong)


def unsafe(home: Home) -> list[str]:
    """A line for each file of this home that a stack must not open: links, others' files.

    A stack does not follow links: to have `rows/` on another disk, mount that there.
    """
    parts = [part for part in _parts(home) if part.is_symlink() or part.exists()]
    paths = (path for part in parts for path in (part, *part.rglob("*")))  # follows no links
    lines = [wrong for path in paths if (wrong := _wrong(path))]
    if (more := len(lines) - MOST_LINES) > 0:
        lines[MOST_LINES:] = [f"{home.path}: and {more} more like these"]
    return lines


@contextmanager
def lock(home: Home) -> Iterator[None]:
    """Lock the stack, at most until this process ends; StateError if another has locked it."""
    refuse_strangers_home(home)
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = no_link(home.run / "lock", os.O_RDWR | os.O_APPEND)
    with os.fdopen(descriptor, "a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().decode(errors="replace").strip()
            owner = f" (pid {pid})" if pid else ""
            raise StateError(
                f"another command{owner} is changing this stack; wait for it to end"
            ) from None
        with suppress(OSError):  # a full disk: the pid is not told, but a stack can be stopped
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def make_folders(home: Home) -> None:
    """Every folder of a home that a stack writes into."""
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in _parts(home):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)  # also one that an operator has made


def prepare(home: Home, say: Say) -> None:
    """Make the folders of a home ready for a start: session key, empty rows, no markers."""
    if not _is_key(home.secret):
        if home.secret.exists():
            say(f"{home.secret}: is no key, as a power cut leaves it: made anew; sessions end")
        write_all([File(home.secret, secrets.token_hex(32) + "\n")])
    rows = (home.proxy_rows, home.service_rows, home.watch_rows)
    for path in (*rows, home.nginx_log, home.supervisord_log):
        if path.exists():  # kept until the next start, so that no file grows for ever
            path.replace(path.with_name(path.name + ".old"))
    prepare_run(home)


def prepare_run(home: Home) -> None:
    """Make the folders of `run/`, with nothing of an earlier stack in them but who is drained."""
    _remove_files(home, home.drained)  # without a `down`, who was drained stays so
    for folder in _run_folders(home):
        folder.mkdir(mode=0o700, exist_ok=True)
    home.admin.chmod(0o700)  # a process that can connect there can break an instance


def clear(home: Home) -> None:
    """Remove the record, the sockets and the markers of a stack of which nothing runs any more."""
    _remove_files(home)
    for folder in _run_folders(home):
        with suppress(FileNotFoundError):
            folder.rmdir()
    home.record.unlink(missing_ok=True)


def _parts(home: Home) -> tuple[Path, ...]:
    return home.etc, home.run, home.log, home.rows, home.data, home.tmp


def _run_folders(home: Home) -> tuple[Path, ...]:
    return home.admin, home.programs, home.drained, home.closing, home.orphans, home.boots


def _remove_files(home: Home, kept: Path | None = None) -> None:
    """Remove what a stack has in `run/`, but for what is in the folder `kept`."""
    # supervisord binds to a name of its own first, supervisor.sock.PID.
    paths = [home.stopping, home.standing, *home.run.glob("*.sock*"), *home.run.glob("*.pid")]
    for folder in _run_folders(home):
        paths += folder.glob("*") if folder != kept else ()
    for path in paths:
        path.unlink(missing_ok=True)


def _is_key(path: Path) -> bool:
    """Whether a file holds a key. Zeros, which a power cut leaves as well, are no secret."""
    try:
        key = path.read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return len(key) >= KEY_CHARACTERS and key.isprintable()


def _wrong(path: Path, status: os.stat_result | None = None) -> str:
    """Why it is not safe to open; empty when it is."""
    try:
        status = status or path.lstat()
    except FileNotFoundError:  # a body of a request that nginx has just removed
        return ""
    if stat.S_ISLNK(status.st_mode):
        return f"{path}: is a link to {path.readlink()}, which a stack does not follow: remove it"
    if status.st_uid != os.geteuid():
        owner = _name(status.st_uid)
        return (
            f"{path}: belongs to {owner}, and this is {_name(os.geteuid())}: run this as {owner}, "
            "or set stack.home to a folder of your own"
        )
    if stat.S_ISDIR(status.st_mode) and status.st_mode & WRITABLE_BY_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        return f"{path}: others may write to it (mode {mode:04o}): chmod go-w {path}"
    return ""


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
