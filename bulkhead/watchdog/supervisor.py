"""supervisord, seen by the watchdog: calls to it, and a monitor that replaces it when it dies.

A new supervisord is started in the session of the old one, because a session is how a stack is
found. It starts every program; where a program still runs, supervisor/launch makes that start a
shim, so nothing that serves notices (docs/supervision.md).
"""

import json
import os
import selectors
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from signal import SIGKILL

from bulkhead.atomic import BROKEN, replace
from bulkhead.clock import now
from bulkhead.proc import HeldProcess, Process, alive, find, send, state
from bulkhead.render.paths import Home
from bulkhead.watchdog.liveness import CREDENTIALS, StopClock
from bulkhead.watchdog.state import Conf, EventLog

# A stopped supervisord serves nobody, but nothing waits for it either until a program dies.
STOPPED_S = 1.0
START_S = 5.0
LONGEST_PAUSE_S = 5.0
# How long a watchdog that finds no supervisord looks for it: it may be about to listen.
MISSING_S = 1.0
ANSWER_S = 2.0
# A program without a process is asked about again after as long as it has had none, within these.
ASK_S, SELDOM_S = 0.02, 2.0

# `$!` is supervisord's pid: the shell forks and the child becomes supervisord. The shell's exit
# makes it an orphan. A shell exports its folder, which supervisord's programs need not know.
START = 'out="$1"; shift; unset PWD OLDPWD; "$@" </dev/null >>"$out" 2>&1 & echo $!'


class SupervisordClient:
    """Calls to supervisord from a thread of its own: supervisord may be slow, the loop may not."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._requests: SimpleQueue[str] = SimpleQueue()  # a program that is ready; "": ask
        self._asked_at = 0.0
        # When supervisord was asked, and the state and pid of each program by its answer.
        self._answer: tuple[float, dict[str, tuple[str, int]]] = (0.0, {})
        threading.Thread(target=self._run, name="supervisord", daemon=True).start()

    def say_ready(self, name: str) -> None:
        """Tell supervisord that a program became ready: its next death is no failed start."""
        self._requests.put(name)

    def state_of(self, name: str, since: float) -> tuple[str, int]:
        """supervisord's word for a program that has had no known process `since`, and its pid.

        By the last answer after `since`, else ("", 0); asks again if that is old.
        """
        pause = min(max(ASK_S, now() - since), SELDOM_S)
        if self._asked_at <= since or now() - self._asked_at > pause:
            self._asked_at = now()
            self._requests.put("")
        asked_at, programs = self._answer
        return programs.get(name, ("", 0)) if asked_at > since else ("", 0)

    def _run(self) -> None:
        # Here, because it takes longer to import than all the rest.
        from bulkhead.supervisor_rpc import NotAnsweringError, Supervisord

        supervisord = Supervisord(self._path, ANSWER_S)
        while True:
            requests = {self._requests.get()}
            while not self._requests.empty():
                requests.add(self._requests.get())
            try:
                if ready := sorted(requests - {""}):
                    # A supervisord that is started anew has no early deaths to forgive.
                    supervisord.say_ready(ready)
                if "" in requests:
                    asked_at = now()
                    programs = supervisord.programs()
                    self._answer = asked_at, {one.name: (one.state, one.pid) for one in programs}
            except NotAnsweringError:
                pass  # the monitor replaces it
            except Exception as error:  # without this thread, nobody could ask any more
                self._complain(f"supervisord: {error!r}")


class Monitor:
    """The present supervisord: found, held by a pidfd, judged, and replaced."""

    def __init__(
        self,
        home: Home,
        selector: selectors.BaseSelector,
        eventlog: EventLog,
        changed: Callable[[], None],
    ) -> None:
        self._home = home
        self._selector = selector
        self._eventlog = eventlog
        self._changed = changed
        self._held: HeldProcess | None = None
        self._stop = StopClock()
        self._failures = 0
        self._listened = False  # the present one has been seen to listen
        self._unrecorded: Process | None = None  # run/stack.json still names the one before it
        self._due = now() + MISSING_S  # when another may be started

    def turn(self, conf: Conf, stopping: bool) -> None:
        """Find or start a supervisord if none is known; end the present one if it hangs.

        An error says that none can be started; it is tried again soon.
        """
        if self._held is None:
            listening = listener(self._home.supervisor_socket)
            if found := find(listening) if listening else self._recorded():
                with suppress(ProcessLookupError):
                    self._hold(found, bool(listening))
            elif now() >= self._due and conf.supervisord and not stopping:
                self._unrecorded = self._start(conf)
                self._hold(self._unrecorded, False)
                self._eventlog.row("supervisord", "supervisord", str(self._unrecorded.pid))
            return
        process = self._held.process
        if self._unrecorded:
            with suppress(OSError):  # a full disk; it is tried again
                self._record(self._unrecorded)
                self._unrecorded = None
        if not self._listened:
            self._listened = listener(self._home.supervisor_socket) == process.pid
        why = self._stop.observe(now(), state(process), STOPPED_S)
        if why and not stopping:
            self._eventlog.row("hang", "supervisord", f"{process.pid} {why}")
            send(process, SIGKILL)

    def forgive(self, late_s: float) -> None:
        """The watchdog itself was late by so much."""
        self._stop.forgive(late_s)

    def _hold(self, process: Process, listened: bool) -> None:
        self._held, self._listened = HeldProcess(process), listened
        self._selector.register(self._held.pidfd, selectors.EVENT_READ, self._on_exit)

    def _on_exit(self) -> None:
        """It has ended. Another is started at once, or after a pause if the last ones failed."""
        assert self._held is not None
        self._selector.unregister(self._held.pidfd)
        self._held.close()
        self._held = None
        self._failures = 0 if self._listened else self._failures + 1
        self._due = now() + min(max(0.0, self._failures - 1.0), LONGEST_PAUSE_S)
        self._eventlog.print_to_file()
        self._changed()

    def _start(self, conf: Conf) -> Process:
        self._due = now() + START_S
        self._home.supervisor_socket.unlink(missing_ok=True)
        out = self._home.log / "supervisord.out"
        # Not with the watchdog's priority: every program would inherit it.
        nice = ("nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0)))
        done = subprocess.run(
            ["/bin/sh", "-c", START, "sh", out, *nice, *conf.supervisord],
            cwd=conf.root,
            # As short and known as the environment that `up` gives it.
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
        return started

    def _record(self, started: Process) -> None:
        """Put the new pid into the stack's record; the rest of it stays valid."""
        path = self._home.record
        with suppress(FileNotFoundError, *BROKEN):  # a broken one is left to `down`
            known = json.loads(path.read_text())
            known["pid"], known["start_ticks"] = started.pid, started.start_ticks
            # Not durable: pids mean nothing after a power cut.
            replace(path, json.dumps(known, indent=1) + "\n", durable=False)

    def _recorded(self) -> Process | None:
        try:
            known = json.loads(self._home.record.read_text())
            process = Process(known["pid"], known["start_ticks"])
            return process if alive(process) else None
        except (OSError, *BROKEN):
            return None


def listener(path: Path) -> int:
    """The pid of the process that listens at a unix socket, even if it hangs; 0 if none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return 0
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(peer)[0])
