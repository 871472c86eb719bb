"""disk_full, and the small volumes under a drill's own home that it fills: never a real disk.

Only root can mount one. Without root a stack gets no volume, and disk_full says so. StateError says
what the system refuses.
"""

import errno
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psutil

from bulkhead.errors import StateError
from bulkhead.faults.contract import FaultError, Site, Steps, confirmed, fault, healed

BALLAST, TRIAL = "ballast", "ballast.trial"
CHUNK = 1 << 20
# No small volume is larger than this: it would be a real disk.
MOST = 1 << 30

Volume = Literal["log", "data", "rows"]


def no_volume(site: Site, volume: Volume) -> str:
    """Only a folder that is a small volume of its own is filled, never a real disk."""
    folder = site.home.path / volume
    if not folder.is_mount():
        root = "" if os.geteuid() == 0 else ", which needs root"
        return f"{folder} is no volume of its own: the drill must mount one (volumes){root}"
    room = os.statvfs(folder)
    size = room.f_blocks * room.f_frsize
    return "" if size <= MOST else f"{folder} is a volume of {size >> 20} MB: too large to fill"


def remove_ballast(site: Site, volume: Volume) -> None:
    """Make room again."""
    for name in (BALLAST, TRIAL):
        (site.home.path / volume / name).unlink(missing_ok=True)


@fault(on="disk", missing=no_volume, undo=remove_ballast)
def disk_full(site: Site, volume: Volume) -> Steps:
    """A ballast file takes all the room of one volume, which the drill must give the stack."""
    folder = site.home.path / volume
    ballast = folder / BALLAST

    def full() -> bool:
        _fill(ballast)
        return _is_full(folder)

    try:
        confirmed(site, f"{folder} is full", full)
        yield f"{folder}: no space left for a byte, with {ballast.stat().st_size} B of ballast"
    finally:
        remove_ballast(site, volume)
        healed("must have room", (folder,), lambda folder: not _is_full(folder))
        healed("must answer", site.topology.instances(), site.answers)
    return f"{folder}: has room, and every instance answers"


def _fill(path: Path) -> None:
    """Make the file as large as it can be, until not one page more fits."""
    with path.open("ab", buffering=0) as file:
        for size in (CHUNK, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise FaultError(f"{path}: {error}") from error


def _is_full(folder: Path) -> bool:
    trial = folder / TRIAL
    try:
        trial.write_bytes(b"x")
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        trial.unlink(missing_ok=True)
    return False


def mount(home: Path, sizes_mb: Mapping[Volume, int]) -> None:
    """Put a memory file system of so many MB at each of these folders of a home."""
    if os.geteuid() != 0:
        return
    for name, size in sizes_mb.items():
        folder = home / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size}m,mode=0700", "bulkhead-drill", folder)


def unmount(home: Path) -> None:
    """Unmount every volume under a home."""
    for folder in reversed(mounted(home)):
        # Lazily: a file that a reader of this process still holds must not keep the volume.
        _run("umount", "--lazy", folder)


def mounted(home: Path) -> list[Path]:
    """The folders below a home that are volumes, in the order in which they were mounted."""
    paths = (Path(one.mountpoint) for one in psutil.disk_partitions(all=True))
    return [path for path in paths if home.resolve() in path.parents]


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise StateError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
