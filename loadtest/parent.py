"""A load ends with the process that started it, also when that one was killed."""

import ctypes
import os
import signal
from collections.abc import Mapping

PARENT = "BULKHEAD_PARENT_PID"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def end_with_it(environment: Mapping[str, str]) -> None:
    """Be sent SIGTERM when the parent dies, if the environment names its process id.

    To the kernel the parent is the thread that started this process, not all of that process.

    Raises:
        ValueError: the parent is another one: whoever was to wait for this load has died.
    """
    expected = environment.get(PARENT)
    if not expected:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)):
        raise OSError(ctypes.get_errno(), "prctl")
    # Only now: a parent that died before the call sends nothing.
    if expected != str(parent := os.getppid()):
        raise ValueError(f"{PARENT} = {expected!r}: must be the parent's, which is {parent}")
