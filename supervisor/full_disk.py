"""A plugin for supervisord: it goes on when what it prints cannot be written.

    [rpcinterface:full_disk]
    supervisor.rpcinterface_factory = full_disk:make

supervisord logs to files, prints to stderr what it cannot log, and dies if that cannot be written
either. With this plugin the output is lost instead.
"""

import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TextIO


class LossyStream:
    """A stream that ignores errors of writing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write as much as there is room for."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush as much as there is room for."""
        with suppress(OSError):
            self._stream.flush()


def make(_supervisord: object, **_config: str) -> SimpleNamespace:
    """Called by supervisord for each of its HTTP servers; an RPC interface without methods."""
    if not isinstance(sys.stdout, LossyStream):
        sys.stdout, sys.stderr = LossyStream(sys.stdout), LossyStream(sys.stderr)
    return SimpleNamespace()
