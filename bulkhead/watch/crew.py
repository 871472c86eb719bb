"""Who leads each program and who serves for it: learnt, held by pidfds, and let go."""

import selectors
from collections.abc import Callable
from contextlib import suppress

from bulkhead.clock import now
from bulkhead.control.process import Process, find, stat, variable
from bulkhead.render.paths import Home
from bulkhead.watch.conf import GUNICORN, WATCH, Conf, Spec
from bulkhead.watch.ear import Beat
from bulkhead.watch.heart import Heart
from bulkhead.watch.journal import Journal
from bulkhead.watch.kernel import Eye, hold, leader
from bulkhead.watch.nudge import Nudger
from bulkhead.watch.program import NEVER, Held, Member, Program, close
from bulkhead.watch.turn import turn

BOOT_S = 1.0  # a watchdog that starts with the stack lets supervisord start the rest first
# When to ask again for a program after supervisord did not answer, or while it waits for others.
GONE_S = 0.2
RUNS_S = 1.0


class Crew:
    """All programs of the stack and their processes. `changed` is called when one is no longer so.

    `before` is what the watchdog before this one knew (book.py).
    """

    def __init__(
        self,
        home: Home,
        selector: selectors.BaseSelector,
        journal: Journal,
        before: dict[str, tuple[int, list[int]]],
        changed: Callable[[], None],
    ) -> None:
        self.programs: dict[str, Program] = {}
        self.nudger = Nudger(home.supervisor_socket, journal.complain)
        self._home = home
        self._selector = selector
        self._journal = journal
        self._before = before
        self._changed = changed
        self._programs_of: dict[int, Program] = {}  # by the pid of a member

    # What there is

    def take(self, conf: Conf) -> None:
        """Know the programs of this configuration, and no others."""
        wanted = {spec.name: spec for spec in conf.programs}
        for name in [name for name in self.programs if name not in wanted]:
            self._forget(self.programs.pop(name))
        self.programs = {name: self._program(spec) for name, spec in wanted.items()}

    def _program(self, spec: Spec) -> Program:
        known = self.programs.get(spec.name)
        if known is None:
            return Program(spec, now(), due=now() + BOOT_S)
        known.spec = spec
        return known

    def _forget(self, program: Program) -> None:
        for member in list(program.members.values()):
            self._leave(program, member)
        if program.leader:
            self._release(program.leader)
        self.nudger.found(program.name)

    # Who leads

    def seek(self, program: Program, may_start: bool) -> None:
        """Look for a new leader of a program that has none; have one started when that is due."""
        found = leader(self._home.programs / program.name) or self._unlaunched(program.name)
        if found is not None and found != program.last:
            try:
                self._lead(program, Held(found, hold(found)))
            except ProcessLookupError:
                self.nudger.found(program.name)
                known, program.last = program.last, found
                if known:  # it came and went between two looks
                    self._journal.row("started", program.name, str(found.pid))
                    self._journal.row("exit", program.name, str(found.pid))
                    self._fail(program)
                else:  # nobody knows when it ended, or why
                    program.due = now()
            return
        if now() >= program.due and may_start and program.spec.kind != WATCH:
            program.due = NEVER
            self.nudger.want(program.name)

    def _unlaunched(self, name: str) -> Process | None:
        """Who leads a program that nobody has written down, as supervisord says it."""
        found = find(self.nudger.pids.get(name, 0))
        return found if found and variable(found, "SUPERVISOR_PROCESS_NAME") == name else None

    def _lead(self, program: Program, held: Held) -> None:
        program.lead(held, now())
        self._register(held, lambda: self._leader_ended(program, held))
        self.nudger.found(program.name)
        pid, ready = self._before.pop(program.name, (0, []))
        if pid != held.process.pid:
            self._journal.row("started", program.name, str(held.process.pid))
        elif program.spec.service:
            for process in filter(None, (_member(program, one) for one in ready)):
                self._join(program, process, stopping=False)
                program.was_ready = True
        else:
            program.was_ready = bool(ready)
        self._changed()

    def _leader_ended(self, program: Program, held: Held) -> None:
        if program.leader is not held:
            return
        turn(self._home.supervisor_socket)  # first of all: what has served comes back by this alone
        if program.spec.kind != GUNICORN:  # its workers may serve on, and say when they do not
            for member in list(program.members.values()):
                self._leave(program, member)
        self._release(held)
        self._journal.row("exit", program.name, str(held.process.pid))
        program.end(now())
        self._say_crashing(program)
        self._changed()

    def _fail(self, program: Program) -> None:
        program.fail(now(), was_ready=False)
        self._say_crashing(program)
        self._changed()

    def _say_crashing(self, program: Program) -> None:
        if program.crashing:
            self._journal.row("crashing", program.name, f"{program.failures} times in a row")

    def take_reports(self) -> None:
        """What has come of the wishes for programs."""
        for report in self.nudger.take_reports():
            program = self.programs.get(report.name)
            if program is None or program.leader is not None:
                continue
            if report.result == "gone":
                program.due = now() + GONE_S
            elif report.result == "runs":
                program.due = now() + RUNS_S
            elif report.result == "left":
                program.failures = 0
            elif report.result == "tried":
                before = program.last
                self.seek(program, may_start=False)  # one may have come and gone
                if program.last == before:
                    self._fail(program)

    # Who serves

    def heard(self, beat: Beat) -> None:
        """A process has spoken."""
        if beat.pid not in self._programs_of:
            for one in self.programs.values():
                if one.leader is None:
                    self.seek(one, may_start=False)  # it may be so new that nobody has looked
        program = self._programs_of.get(beat.pid)
        if program is not None:
            member = program.members[beat.pid]
            with suppress(ProcessLookupError):  # its end is on the way
                member.heart.beat(now(), member.eye.times_s()[1])
            if member.stopping != beat.stopping:
                member.stopping = beat.stopping
                self._changed()
        elif beat.ready or beat.stopping:
            self._welcome(beat)

    def _welcome(self, beat: Beat) -> None:
        """Its first words."""
        for program in self.programs.values():
            process = _member(program, beat.pid)
            if process is not None and self._join(program, process, beat.stopping):
                if beat.ready:
                    self._journal.row("ready", program.name, str(beat.pid))
                self.was_ready(program)
                self._changed()
                return

    def was_ready(self, program: Program) -> None:
        """It has shown that it can do its work."""
        if program.crashing:
            self._journal.row("recovered", program.name, f"after {program.failures} failures")
        program.was_ready, program.failures = True, 0

    def _join(self, program: Program, process: Process, stopping: bool) -> bool:
        """From now on it is watched; False when it has ended already."""
        try:
            eye = Eye(process.pid)
        except ProcessLookupError:
            return False
        try:
            waited = eye.times_s()[1]
            pidfd = hold(process)  # so what has been opened was its own
        except ProcessLookupError:
            eye.close()
            return False
        member = Member(process, pidfd, eye, Heart(now(), waited), stopping)
        program.members[process.pid] = member
        self._programs_of[process.pid] = program
        self._register(member, lambda: self._member_ended(program, member))
        return True

    def _member_ended(self, program: Program, member: Member) -> None:
        if program.members.get(member.process.pid) is member:
            self._leave(program, member)
            self._changed()

    def _leave(self, program: Program, member: Member) -> None:
        self._release(member)
        member.eye.close()
        del program.members[member.process.pid]
        del self._programs_of[member.process.pid]

    def forgive(self, late: float) -> None:
        """The watchdog itself did not get its turn for so long; it judges nobody by that time."""
        for pid, program in self._programs_of.items():
            program.members[pid].heart.forgiven += late

    def _register(self, held: Held, ended: Callable[[], None]) -> None:
        self._selector.register(held.pidfd, selectors.EVENT_READ, ended)

    def _release(self, held: Held) -> None:
        self._selector.unregister(held.pidfd)
        close(held)


def _member(program: Program, pid: int) -> Process | None:
    """The process `pid`, if it leads the program or is a child of who does."""
    if program.leader is None:
        return None
    if pid == program.leader.process.pid:
        # gunicorn's master says READY too, before any of its workers is, and never beats.
        return program.leader.process if program.spec.kind != GUNICORN else None
    found = stat(pid)
    child = found and found.parent == program.leader.process.pid
    return Process(pid, found.start_ticks) if found and child else None
