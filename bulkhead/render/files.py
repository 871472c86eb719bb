"""A rendered file as a value, and the one function that writes them."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """One file to be written: where, what, and with which permissions."""

    path: Path
    text: str
    mode: int = 0o600


def write_all(files: Iterable[File]) -> None:
    """Write every file atomically: a reader sees the old text or the new, never a part."""
    for file in files:
        file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")
        try:
            with os.fdopen(handle, "w") as out:
                out.write(file.text)
            Path(temporary).chmod(file.mode)
            Path(temporary).replace(file.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def differing(files: Iterable[File]) -> list[Path]:
    """The paths whose text on disk is not what would be written."""
    return [
        file.path for file in files if not file.path.exists() or file.path.read_text() != file.text
    ]
