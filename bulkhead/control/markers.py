"""What a running stack has in `run/` beside its record: sockets, notes of who leads, and orders."""

from pathlib import Path

from bulkhead.render.paths import Home


def prepare(home: Home) -> None:
    """For a stack that is about to start: folders to write into, and nothing of an earlier one.

    But what an operator has taken out of rotation (`run/out`) stays out, if no `down` was between.
    """
    _remove_files(home)
    for folder in _folders(home):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder != home.out:
            _empty(folder)
    home.admin.chmod(0o700)  # whoever made it: who can connect can break an instance


def clear(home: Home) -> None:
    """Remove what a stack leaves, however it ended. Nothing of it may run any more."""
    _remove_files(home)
    for folder in _folders(home):
        if folder.exists():
            _empty(folder)
            folder.rmdir()


def _remove_files(home: Home) -> None:
    left = [home.notify_socket, home.internal_socket, home.stopping, home.run / "watch.json"]
    left += home.run.glob("supervisor.sock*")  # it binds to a name of its own first
    left += home.run.glob("*.pid")
    for path in left:
        path.unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink(missing_ok=True)


def _folders(home: Home) -> tuple[Path, ...]:
    return home.admin, home.programs, home.out, home.closing, home.strays, home.boots
