"""down: supervisord stops its programs, within their grace times; what is left then is killed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM

from bulkhead import proc
from bulkhead.atomic import mark
from bulkhead.clock import now, wait_until
from bulkhead.errors import StateError
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, STOP_MARGIN_S, WATCH, WATCH_GRACE_S, stop_s
from bulkhead.supervise import record
from bulkhead.supervise.home import Say, clear, lock
from bulkhead.supervise.record import Record, survivors
from bulkhead.supervisor_rpc import ENDED, STOPPABLE, NotAnsweringError, Supervisord

SUPERVISORD = "-m supervisor.supervisord "  # in its command line
ANSWER_S = 2  # a supervisord that takes longer for one call hangs
UNRECORDED_S = 60  # instead of grace times that are not known
KILLED_S = 10  # how long the kernel may take to end killed processes


def down(home: Home, say: Say) -> bool:
    """Stop everything and leave no process, socket or port; False when nothing ran."""
    with lock(home):
        running, wrong = record.parsed(home)
        if not wrong and not (running and running.members()):
            if running:  # all of it was killed at once
                clear(home)
            return False
        stack = Stack(home, partial(survivors, home), "", UNRECORDED_S, UNRECORDED_S)
        try:
            stack = Stack.of(running) if running else stack
        except StateError as error:
            wrong = error.lines[0]
        left = stack.members()
        doing = f"stopping {len(left)} processes" if left else "nothing of the stack runs"
        say(f"{wrong}; {doing}" if wrong else doing)
        stack.stop()
        return bool(left)


def kill(members: Callable[[], list[Process]]) -> None:
    """SIGKILL these until none is left; StateError if one stays."""

    def nothing_left() -> bool:
        left = members()  # asked again each time: a dying process may just have forked
        for process in left:
            proc.send(process, SIGKILL)
        return not left

    if not wait_until(nothing_left, KILLED_S):
        pids = ", ".join(str(process.pid) for process in members())
        raise StateError(
            f"pid {pids} did not end within {KILLED_S} s of SIGKILL (waiting for a disk?); "
            "run `make down` again"
        )


@dataclass(frozen=True)
class Stack:
    """A stack to be stopped, in any state: supervisord or an nginx master may be dead or hang."""

    home: Home
    members: Callable[[], list[Process]]
    nginx: str  # the program, if it is known
    nginx_grace_s: float
    grace_s: float  # the longest of a service

    @staticmethod
    def of(running: Record) -> "Stack":
        """The stack of this record."""
        topology = running.resolved()
        grace_s = max(service.grace_s for service in topology.services.values())
        home = Home(topology.home)
        return Stack(home, running.members, running.nginx, topology.proxy.grace_s, grace_s)

    def stop(self) -> None:
        """End every process of it and clear its home; StateError if the kernel does not end one."""
        mark(self.home.stopping)  # from here on the watchdog brings nothing back
        titled = [each for each in self.members() if SUPERVISORD in proc.title(each)]
        # The eldest: the others are copies of it, each about to become a program.
        if leader := min(titled, key=lambda each: each.start_ticks, default=None):
            supervisord = Supervisord(self.home.supervisor_socket, ANSWER_S)
            self._stop_programs(supervisord)
            self._shut_down(supervisord, leader)
        if self.members():
            self._stop_unsupervised()
        kill(self.members)
        clear(self.home)

    def _stop_programs(self, supervisord: Supervisord) -> None:
        """Stop nginx first, and then all else at once: supervisord itself does it one by one."""
        with suppress(NotAnsweringError):  # it has died, hangs or shuts down: the rest sees to it
            leader = record.leader(self.home, NGINX)
            for process in self._nginx():
                if process != leader:  # an orphan may finish; supervisord knows nothing of it
                    proc.send(process, SIGQUIT)
            _end(supervisord, lambda name: name == NGINX, self.nginx_grace_s)
            _end(supervisord, lambda name: name != WATCH, self.grace_s)

    def _shut_down(self, supervisord: Supervisord, leader: Process) -> None:
        """Let supervisord stop what is left, mostly the watchdog, and itself; kill it if it hangs.

        One that was shutting down already stops its programs one after the other: those for which
        its time is too short are stopped without it.
        """
        if not supervisord.shutdown():
            proc.send(leader, SIGKILL)
        longest_s = self.nginx_grace_s + self.grace_s + stop_s(WATCH_GRACE_S) + STOP_MARGIN_S
        deadline = now() + longest_s
        while now() < deadline and not proc.wait_gone(leader, 0.02):
            # Each call wakes supervisord; by itself it wakes once a second. If it was about to
            # start anew (SIGHUP) it obeys only then.
            supervisord.shutdown()
        proc.send(leader, SIGKILL)
        proc.wait_gone(leader, KILLED_S)

    def _stop_unsupervised(self) -> None:
        """Stop it as supervisord would: nginx first, the right signals, and patience."""
        for process in self._nginx():
            proc.send(process, SIGQUIT)
        wait_until(lambda: not self._nginx(), self.nginx_grace_s + STOP_MARGIN_S)
        for process in proc.without_parent_among(self.members()):
            proc.send(process, SIGTERM)
        wait_until(lambda: not self.members(), self.grace_s + STOP_MARGIN_S)

    def _nginx(self) -> list[Process]:
        """nginx's masters, and its workers without one."""
        return proc.without_parent_among(list(filter(self._is_nginx, self.members())))

    def _is_nginx(self, process: Process) -> bool:
        titled = proc.title(process).startswith("nginx: ")
        with suppress(OSError):  # it may not yet have written down what it is
            return titled or Path(f"/proc/{process.pid}/exe").samefile(self.nginx)
        return titled


def _end(supervisord: Supervisord, chosen: Callable[[str], bool], grace_s: float) -> None:
    """Stop programs, all at once, and wait until none of them runs."""

    def ended() -> bool:
        left = [
            program
            for program in supervisord.programs()  # each call also wakes supervisord
            if chosen(program.name) and program.state not in ENDED
        ]
        for program in left:
            process = proc.find(program.pid)
            # Still a copy of supervisord: that one ignores every signal.
            unborn = process and SUPERVISORD in proc.title(process)
            if program.state in STOPPABLE and not unborn:
                supervisord.stop_soon(program.name)
        return not left

    # More than supervisord's own patience, at the end of which it kills.
    wait_until(ended, grace_s + 2 * STOP_MARGIN_S)
