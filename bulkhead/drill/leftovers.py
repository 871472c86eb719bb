"""The leftovers of a killed drill: a stack, namespaces, containers and mounts, ended and removed.

Only the notes in the drill's own folder count, and none while a drill runs there. That drill holds
the folder's lock, and its pid and start time are in the lock's file.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead import proc
from bulkhead.atomic import no_link
from bulkhead.errors import StateError
from bulkhead.faults import disk
from bulkhead.hosts import KINDS
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.supervise import stop
from bulkhead.supervise.home import Say
from bulkhead.supervise.record import survivors


def clear(home: Home, say: Say) -> bool:
    """End and remove the leftovers of a drill in this home; False if there were none.

    StateError if a drill is running there, or something does not end.
    """
    path = folder(home)
    if not path.exists():
        return False
    with alone(path):
        return remove(path, say)


def folder(home: Home) -> Path:
    """Where a drill has a stack of its own."""
    return home.path / "drill"


def left(home: Home) -> str:
    """The leftovers in this home, for a person; empty while a drill runs."""
    path = folder(home)
    return "" if not path.exists() or runs(path) else _words(path)


def runs(path: Path) -> Process | None:
    """The drill that runs in this folder, by the note in its lock."""
    return proc.read_note(path.with_suffix(".lock"))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One drill at a time may have a stack of its own in a home folder.

    StateError if another one runs there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(no_link(path.with_suffix(".lock"), os.O_RDWR), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = runs(path)
            pid = f" (pid {owner.pid})" if owner else ""
            raise StateError(
                f"another drill{pid} is running in {path}: wait for it to end, or give this one a "
                "home of its own with --set stack.home=FOLDER"
            ) from None
        me = proc.find(os.getpid())
        assert me, "this process lives"
        file.truncate(0)
        file.write(f"{me.pid} {me.start_ticks}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def remove(path: Path, say: Say) -> bool:
    """As `clear`; `alone` is held."""
    if found := _words(path):
        say(f"an interrupted drill has left {found}: ending all of it")
    if survivors(Home(path)) or Home(path).record.exists():
        stop.down(Home(path), say)
    for kind in KINDS.values():
        kind.clear(path)
    disk.unmount(path)
    shutil.rmtree(path, ignore_errors=True)
    return bool(found)


def _words(path: Path) -> str:
    of_a_stack = survivors(Home(path)) if Home(path).record.exists() else []
    mounts = disk.mounted(path)
    words = [f"{len(of_a_stack)} processes of a stack"] if of_a_stack else []
    words += [word for kind in KINDS.values() for word in kind.left(path)]
    words += [f"{len(mounts)} mounts"] if mounts else []
    return ", ".join(words)
