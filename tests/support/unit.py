"""`unit.py UNIT CHECKOUT STATE -- COMMAND...`: COMMAND, run as systemd would.

In namespaces of its own and under the unit's limits and filters, as far as one process can have
them without systemd: no cgroup. CHECKOUT appears where the unit has it, STATE is its state folder.
Only root can do this; COMMAND runs as nobody's user.
"""

import ctypes
import os
import re
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.seccomp import filter_of

USER = 10001
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LIBC = ctypes.CDLL(None, use_errno=True)


def settings(text: str) -> dict[str, str]:
    """Every `Key=value` of a unit."""
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


def mount(what: str, where: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    words = (what.encode(), where.encode(), kind.encode() or None, flags, options.encode() or None)
    if LIBC.mount(*words):
        raise OSError(ctypes.get_errno(), f"mount {what} {where}")


def isolate(unit: dict[str, str], checkout: str, state: str) -> None:
    """The file system as the unit has it: read-only, and what is other people's is not there."""
    for key, wanted in (
        ("ProtectSystem", "strict"), ("ProtectHome", "true"), ("PrivateTmp", "true"),
        ("PrivateDevices", "true"), ("ProtectProc", "invisible"), ("ProtectHostname", "true"),
        ("ProtectKernelTunables", "true"), ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "true"),
    ):  # fmt: skip
        assert unit[key] == wanted, f"{key} = {unit[key]}: this file does not know how to do that"
    home = f"/var/lib/{unit['StateDirectory']}"
    kept = {unit["WorkingDirectory"]: checkout, home: state}
    kept |= {f"/dev/{name}": f"/dev/{name}" for name in (*DEVICES, "shm")}
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWUTS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    held = {where: os.open(what, os.O_PATH) for where, what in kept.items()}
    for folder in ("/tmp", "/var/tmp", "/home", "/root", "/dev", "/srv", "/var/lib"):
        mount("tmpfs", folder, "tmpfs")
    for where, descriptor in held.items():
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            Path(where).mkdir(parents=True)
        else:
            Path(where).touch()
        mount(f"/proc/self/fd/{descriptor}", where, flags=MS_BIND)
        os.close(descriptor)
    mount("proc", "/proc", "proc", options="hidepid=invisible")
    for folder in ("/tmp", "/var/tmp"):
        os.chmod(folder, 0o1777)  # noqa: PTH101
    writable = (home, "/tmp", "/var/tmp", "/proc", "/dev/shm", *(f"/dev/{one}" for one in DEVICES))
    for where in mounted():
        if where not in writable:
            mount("none", where, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("/proc/sys", "/proc/sys", flags=MS_BIND)
    mount("none", "/proc/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def mounted() -> list[str]:
    """Where something is mounted that can be seen; what another one hides cannot be remounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = dict.fromkeys(line.split()[4] for line in lines)
    hidden = ("/tmp/", "/var/tmp/", "/home/", "/root/", "/proc/", "/sys/")
    return [one for one in places if not one.startswith(hidden) and Path(one).exists()]


def restrict(unit: dict[str, str]) -> None:
    """Limits, user, capabilities, filters."""
    for key, what in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitNICE", resource.RLIMIT_NICE)):
        # In some containers root has no CAP_SYS_RESOURCE, and may not raise them as systemd does.
        limit = min(int(unit[key]), resource.getrlimit(what)[1] & sys.maxsize)
        resource.setrlimit(what, (limit, limit))
    os.umask(int(unit["UMask"], 8))
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filter_of(unit).load()


def main(arguments: list[str]) -> None:
    """Become the command."""
    file, checkout, state, _, *command = arguments
    unit = settings(Path(file).read_text())
    name, _, value = unit["Environment"].strip('"').partition("=")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": f"/var/lib/{unit['StateDirectory']}",
        name: value + " " + os.environ.get("MORE_SETTINGS", ""),
    }
    isolate(unit, checkout, state)
    os.chdir(unit["WorkingDirectory"])
    restrict(unit)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
