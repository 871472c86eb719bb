"""supervisord itself: held like any other process, and replaced when it dies.

The new one is started in the session of the old one, because a session is how a stack is found. It
starts every program again; the launcher turns each start whose program still runs into a stand-in,
so nothing that serves notices (docs/watchdog.md).
"""

import json
import os
import socket
import struct
import subprocess
from pathlib import Path

from bulkhead.clock import now
from bulkhead.control.process import Process, alive, find
from bulkhead.render.paths import Home
from bulkhead.watch.book import replace
from bulkhead.watch.conf import Conf
from bulkhead.watch.crashes import failures_after, pause_s
from bulkhead.watch.heart import Stops
from bulkhead.watch.kernel import hold, state
from bulkhead.watch.program import Held, close

CREDENTIALS = struct.Struct("3i")
# A stopped supervisord serves nobody, but nobody waits for it either until something dies.
STOPPED_S = 1.0
START_S = 5.0
# How long a watchdog that finds none looks for it: it may be about to listen.
MISSING_S = 1.0

# `$!` is the pid that supervisord has: the shell forks and the child becomes it. The shell's exit
# makes it nobody's child here. A shell exports its folder; supervisord's children need not know.
START = 'out="$1"; shift; unset PWD OLDPWD; "$@" </dev/null >>"$out" 2>&1 & echo $!'


class Reign:
    """Who is supervisord now."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._stops = Stops({})
        self._failures = 0
        self._served = False  # this one has been seen to listen
        self.held: Held | None = None
        self.due = now() + MISSING_S  # when another may be started

    def find(self) -> Held | None:
        """Find the one that there is, if there is one."""
        listening = listener(self._home.supervisor_socket)
        found = find(listening) if listening else self._recorded()
        try:
            return self._hold(found, bool(listening)) if found else None
        except ProcessLookupError:
            return None

    def _hold(self, process: Process, served: bool) -> Held:
        self.held = Held(process, hold(process))
        self._served = served
        return self.held

    def ended(self) -> None:
        """It has ended."""
        assert self.held is not None
        close(self.held)
        self.held = None
        self._failures = failures_after(self._failures, self._served)
        self.due = now() + pause_s(self._failures)

    def look(self) -> str:
        """Why it counts as hung at this moment; empty when it does not."""
        if self.held is None:
            return ""
        pid = self.held.process.pid
        if not self._served:
            self._served = listener(self._home.supervisor_socket) == pid
        return self._stops.why_hung(now(), pid, state(pid), STOPPED_S)

    def start(self, conf: Conf) -> Held:
        """Start one, and write it down as the one that leads the stack.

        Raises:
            OSError, subprocess.SubprocessError: that failed; it is tried again after a pause.
        """
        self.due = now() + START_S
        self._home.supervisor_socket.unlink(missing_ok=True)
        out = self._home.log / "supervisord.out"
        done = subprocess.run(
            ["/bin/sh", "-c", START, "sh", out, *_like_others(), *conf.supervisord],
            cwd=conf.root,
            # As short and known as the one that `up` gives it.
            env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOME": os.environ.get("HOME", "/"),
                "LANG": "C.UTF-8",
            },
            # Not in the watchdog's group, which is killed as a whole.
            process_group=0,
            stdout=subprocess.PIPE,
            timeout=START_S,
            check=True,
        )
        started = find(int(done.stdout))
        if started is None:
            raise ChildProcessError("supervisord ended at once: see log/supervisord.out")
        self._record(started)
        return self._hold(started, False)

    def _record(self, started: Process) -> None:
        """Put the new pid into the stack's record; all else that it says is still so."""
        path = self._home.run / "stack.json"
        if path.exists():
            known = json.loads(path.read_text())
            known |= {"pid": started.pid, "start_ticks": started.start_ticks}
            replace(path, json.dumps(known, indent=1) + "\n")

    def _recorded(self) -> Process | None:
        try:
            known = json.loads((self._home.run / "stack.json").read_text())
            found = Process(known["pid"], known["start_ticks"])
        except (OSError, ValueError, KeyError):
            return None
        return found if alive(found) else None


def _like_others() -> list[str]:
    """What gives up the watchdog's priority: supervisord would pass it on to all that it starts."""
    return ["nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0))]


def listener(path: Path) -> int:
    """The pid of the process that listens at a unix socket, whether it still turns or not; or 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return 0
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(told)[0])
