"""disk_full: a volume of the stack has no room left, until somebody clears it up."""

import errno
import os
from pathlib import Path
from typing import Literal

from bulkhead.faults import parts
from bulkhead.faults.base import Fault, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone

BALLAST, TRIAL = "ballast", "ballast.trial"
CHUNK = 1 << 20
# More than this is nobody's small volume: it would be a real disk.
MOST = 1 << 30

Volume = Literal["log", "data", "rows"]


@register
class DiskFull(parts.OnPart):
    """A ballast file takes all the room of one volume. The drill must give the stack that volume.

    `rows` is where the evidence lies: a run in which rows are lost cannot pass.
    """

    name = "disk_full"
    part = "disk"

    class Params(Fault.Params):
        """Which folder of the home."""

        volume: Volume

    params: Params

    def available(self, site: Site) -> str:
        """Only a folder that is a small volume of its own is filled, never a real disk."""
        folder = self._folder(site)
        if not folder.is_mount():
            root = "" if os.geteuid() == 0 else ", which needs root"
            return f"{folder} is no volume of its own: the drill must mount one (volumes){root}"
        room = os.statvfs(folder)
        size = room.f_blocks * room.f_frsize
        return "" if size <= MOST else f"{folder} is a volume of {size >> 20} MB: too large to fill"

    def heal(self, site: Site, targets: Targets) -> None:  # noqa: ARG002 - there is one
        """Remove the ballast."""
        for name in (BALLAST, TRIAL):
            (self._folder(site) / name).unlink(missing_ok=True)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Fill it; held is a write that fails, undone one that does not, and who answers."""
        folder = self._folder(site)
        try:
            held(site, f"{folder} is full", lambda: _fill(folder / BALLAST) and _is_full(folder))
            ballast = (folder / BALLAST).stat().st_size
            yield f"{folder}: no space left for a byte, with {ballast} B of ballast"
        finally:
            self.heal(site, targets)
            undone("must have room", (folder,), lambda one: not _is_full(one))
            undone("must answer", tuple(site.topology.instances()), site.answers)
        return f"{folder}: has room, and every instance answers"

    def _folder(self, site: Site) -> Path:
        return site.home.path / self.params.volume


def _fill(path: Path) -> bool:
    """Make the file as large as it can be; True when not one page more would fit."""
    with path.open("ab", buffering=0) as file:
        for size in (CHUNK, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise FaultError(f"{path}: {error}") from error
    return True


def _is_full(folder: Path) -> bool:
    trial = folder / TRIAL
    try:
        trial.write_bytes(b"x")
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        trial.unlink(missing_ok=True)
    return False
