"""Small volumes under a drill's own home: what a drill fills up must be no real disk.

Only root can mount. Without it a stack gets no volume, and a fault that needs one says so.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bulkhead.errors import StateError
from bulkhead.faults.disk_full import Volume

MOUNTS = Path("/proc/self/mounts")


def mount(home: Path, sizes_mb: Mapping[Volume, int]) -> None:
    """Put a memory file system of so many MB at each of these folders of a home.

    Raises:
        StateError: the system refuses.
    """
    if os.geteuid() != 0:
        return
    for name, size in sizes_mb.items():
        folder = home / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size}m,mode=0700", "bulkhead-drill", folder)


def unmount(home: Path) -> None:
    """Take away every volume under a home, whoever put it there; nothing when there is none.

    Raises:
        StateError: the system refuses.
    """
    for folder in reversed(mounted(home)):
        # Lazily: a file that a reader of this process still holds must not keep the volume.
        _run("umount", "--lazy", folder)


def mounted(home: Path) -> list[Path]:
    """The folders below a home that are volumes, in the order in which they were mounted."""
    # A space or a backslash of a path is written as an octal number there (proc(5), fstab(5)).
    lines = MOUNTS.read_text().splitlines()
    paths = (line.split(" ")[1].encode().decode("unicode_escape") for line in lines)
    return [path for path in map(Path, paths) if home.resolve() in path.parents]


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise StateError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
