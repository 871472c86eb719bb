"""What a running stack has in `run/` beside its record: sockets, notes of who leads, and orders."""

from pathlib import Path

from bulkhead.render.paths import Home


def prepare(home: Home) -> None:
    """For a stack that is about to start: nothing of an earlier one, and folders to write into."""
    _remove_files(home)
    for folder in _folders(home):
        folder.mkdir(mode=0o700, exist_ok=True)


def clear(home: Home) -> None:
    """Remove what a stack leaves, however it ended. Nothing of it may run any more."""
    _remove_files(home)
    for folder in _folders(home):
        for marker in folder.glob("*"):
            marker.unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()


def _remove_files(home: Home) -> None:
    left = [home.notify_socket, home.internal_socket, home.stopping, home.run / "watch.json"]
    left += home.run.glob("supervisor.sock*")  # it binds to a name of its own first
    left += home.run.glob("*.pid")
    left += home.admin.glob("*.sock")  # of instances that were killed and not started again
    for path in left:
        path.unlink(missing_ok=True)


def _folders(home: Home) -> tuple[Path, ...]:
    return home.programs, home.out, home.closing, home.strays
