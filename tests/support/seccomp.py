"""System calls filtered by libseccomp, in the words of systemd.exec(5): all of a process's children
have the filter too, and nothing undoes it.
"""

import ctypes
import errno
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7  # enum scmp_compare
NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone(2) takes
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
# The calls that give a file a mode, and which of their arguments it is.
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2, "mknod": 1, "creat": 1}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp: an argument of a call, compared."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Filter:
    """Refuses with EPERM what was not allowed."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ERRNO | errno.EPERM))

    def allow(self, name: str, *where: Comparison) -> None:
        """Allow a call; one that this machine does not have is left out."""
        self._add(ALLOW, name, where)

    def refuse(self, name: str, error: int) -> None:
        """Refuse a call with another error than EPERM."""
        self._add(ERRNO | error, name, ())

    def _add(self, action: int, name: str, where: Sequence[Comparison]) -> None:
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return
        comparisons = (Comparison * len(where))(*where)
        words = (self._context, ctypes.c_uint32(action), number, len(where), comparisons)
        done = self._lib.seccomp_rule_add_array(*words)
        assert done == 0, f"{name}: {done}"

    def load(self) -> None:
        """Put it in force."""
        done = self._lib.seccomp_load(self._context)
        assert done == 0, f"seccomp_load: {done}"


def names(words: Sequence[str]) -> set[str]:
    """The calls of a SystemCallFilter=, sets such as @system-service taken apart by systemd."""
    found: set[str] = set()
    for word in words:
        found |= names(_members(word)) if word.startswith("@") else {word}
    return found


def _members(group: str) -> list[str]:
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    return re.findall(r"^ {4}([@a-z0-9_-]+)$", said, re.MULTILINE)


def filter_of(unit: dict[str, str]) -> Filter:
    """What a unit's settings refuse: its calls, families, namespaces, realtime and set-user-ID."""
    made = Filter()
    allowed = names(unit["SystemCallFilter"].split())
    conditions = dict(_conditions(unit))
    for name in sorted(allowed - {"clone3"}):
        for where in conditions.get(name, [()]):
            made.allow(name, *where)
    made.refuse("clone3", errno.ENOSYS)  # its flags are in memory, where no filter can look
    return made


def _conditions(unit: dict[str, str]) -> Iterator[tuple[str, list[tuple[Comparison, ...]]]]:
    """By call: which arguments are allowed. No entry: all; an empty one: none."""
    families = [FAMILIES[one] for one in unit["RestrictAddressFamilies"].split()]
    yield "socket", [(Comparison(0, EQUAL, one, 0),) for one in families]
    assert unit["RestrictNamespaces"] == "true"
    yield "clone", [(Comparison(0, MASKED_EQUAL, NAMESPACES, 0),)]
    yield "unshare", []
    yield "setns", []
    assert unit["RestrictRealtime"] == "true"
    yield "sched_setscheduler", [(Comparison(1, EQUAL, one, 0),) for one in (0, 3, 5)]
    assert unit["RestrictSUIDSGID"] == "true"
    for name, argument in MODES.items():
        yield name, [(Comparison(argument, MASKED_EQUAL, SPECIAL_BITS, 0),)]
    assert unit["LockPersonality"] == "true"
    yield "personality", []
