"""`python -m tests.support.refuse NUMBER=ERRNO... -- COMMAND...`: COMMAND, refused system calls.

By a seccomp filter, as a container or a unit of systemd has one, which all of its children have
too. Any user may do this. NUMBER is that of this machine's own calls.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Mapping

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_IF, RETURN = 0x20, 0x15, 0x06  # struct sock_filter's codes, as seccomp(2) shows them


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse(calls: Mapping[int, int]) -> None:
    """From now on these calls of this process fail with these errors; nothing undoes it."""
    steps = [(LOAD, 0, 0, 0)]  # the number of the call
    for number, error in calls.items():
        steps += [(JUMP_IF, 0, 1, number), (RETURN, 0, 0, ERRNO | error)]
    steps.append((RETURN, 0, 0, ALLOW))
    text = b"".join(struct.pack("HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(steps), text)
    for words in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    at = sys.argv.index("--")
    pairs = (one.split("=") for one in sys.argv[1:at])
    refuse({int(number): int(error) for number, error in pairs})
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])
