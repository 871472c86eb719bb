"""A run that was recorded, and kept as far as the judge needs it."""

import tarfile
from pathlib import Path

from bulkhead.rundir import RunDir

KEPT = Path(__file__).with_name("run.tar.xz")


def unpack(folder: Path) -> RunDir:
    """The run, in a folder."""
    with tarfile.open(KEPT) as kept:
        kept.extractall(folder)
    return RunDir(folder)
