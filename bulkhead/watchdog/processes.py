"""The process table: the leader of each program, its serving processes, and which of them hang.

A program is a [program:...] section of supervisord; an instance is one that nginx may choose. Its
leader (systemd's main process) is the process of a Tornado, or the master of nginx or of a
gunicorn. supervisord starts each program by way of supervisor/launch, which writes the pid of the
leader into a file (a note) and becomes the program. Processes are held by pidfds, so their deaths
are seen at once.

The loop (loop.py) kills what hangs, by SIGKILL. supervisord starts dead leaders again, and a master
its dead workers.
"""

import selectors
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkhead.clock import now
from bulkhead.proc import HeldProcess, Process, find, noted, stat, variable
from bulkhead.render.paths import Home
from bulkhead.watchdog.liveness import STOPPED, Notification, ServingProcess, StopClock
from bulkhead.watchdog.state import GUNICORN, NGINX, WATCH, Conf, EventLog, Spec
from bulkhead.watchdog.supervisor import SupervisordClient

# So many deaths in a row, none of them after it was ready, are called a crash loop. supervisord
# starts it again all the same, with growing pauses.
CRASH_LOOP_DEATHS = 2


class Hang(NamedTuple):
    """A process to be killed."""

    program: str
    process: Process
    why: str
    stopped: bool  # by SIGSTOP or the like


@dataclass
class Program:
    """The state of one program; times are monotonic seconds."""

    spec: Spec
    since: float  # when `leader` became what it is, a process or none
    leader: HeldProcess | None = None
    serving: dict[int, ServingProcess] = field(default_factory=dict)  # by pid
    was_ready: bool = False  # its latest leader, or a worker of that, has been ready
    failures: int = 0  # deaths in a row without having been ready
    latest: Process | None = None  # its latest leader, dead or alive
    # Of the processes that send no heartbeats (masters, nginx's workers) those in state T, by pid.
    stop_clocks: dict[int, StopClock] = field(default_factory=dict)
    drained: bool = False  # an operator wants it to get no requests

    @property
    def name(self) -> str:
        """The name of supervisord's [program:...] section."""
        return self.spec.name

    def count_death(self) -> None:
        """Count a death; one that comes after the program was ready ends the row of failures."""
        self.failures = 0 if self.was_ready else self.failures + 1

    @property
    def crashing(self) -> bool:
        """Whether it is in a crash loop."""
        return self.failures >= CRASH_LOOP_DEATHS

    @property
    def in_rotation(self) -> list[ServingProcess]:
        """Its processes that take requests."""
        return [one for one in self.serving.values() if not one.draining and not one.unresponsive]

    def serves(self) -> bool:
        """Whether it does its work under its present leader, as far as can be told."""
        if self.leader is None or self.spec.kind == WATCH:
            return self.leader is not None
        return self.was_ready and (self.spec.kind == NGINX or bool(self.in_rotation))

    def peer_line(self) -> str:
        """Its line in the table for nginx (peer_table.py); empty for a program that is no instance.

        `service name address weight state boot`: nginx sees by `boot` that it was started again.
        """
        spec = self.spec
        if not spec.service:
            return ""
        boot = self.leader.pid if self.leader else 0
        where = f"{spec.service} {spec.name} {spec.address} {spec.weight}"
        return f"{where} {self._peer_state()} {boot}"

    def _peer_state(self) -> str:
        """Its state in the words of the table for nginx: up, down, drained or hung.

        It is up, too, while only the workers of a dead master serve (`state` says down then). It is
        hung from the judgement to the end of a process: nginx is to know what requests died of.
        """
        if any(process.doomed for process in self.serving.values()):
            return "hung"
        if self.drained:
            return "drained"
        if self.in_rotation:
            return "up"
        return "drained" if any(process.draining for process in self.serving.values()) else "down"

    def state(self) -> str:
        """Its state in the words of `bulkhead status`."""
        if self.stop_clocks or any(process.unresponsive for process in self.serving.values()):
            return "hung"
        if self.crashing:
            return "crashing"
        if self.leader is None:
            return "drained" if self.drained else "down"
        if self.drained or (self.serving and not self.in_rotation):
            return "drained"
        return "up" if self.serves() else "starting"

    def hung_processes(self, nginx_workers: Iterable[int], all_received: bool) -> list[Hang]:
        """Its hung processes. `all_received`: see `ServingProcess.newly_hung`."""
        spec, leader = self.spec, self.leader
        if leader is None:  # workers of a dead master end soon (orphans.py)
            return []
        if spec.kind == NGINX:
            return self._stopped((leader.pid, *nginx_workers))
        if spec.hang_s == 0:  # the operator wants no such judgement
            return []
        # A gunicorn's master is not judged while it boots: its start may be slow, and is no outage.
        found = self._stopped((leader.pid,)) if spec.kind == GUNICORN and self.was_ready else []
        for process in self.serving.values():
            # One that drains may be silent until supervisord kills it, `grace_s` later.
            patience_s = spec.hang_s + (spec.grace_s if process.draining else 0.0)
            if why := process.newly_hung(patience_s, all_received):
                stopped = process.liveness.stop.since is not None
                found.append(Hang(spec.name, process.process, why, stopped))
        return found

    def _stopped(self, pids: Iterable[int]) -> list[Hang]:
        """Of these processes, which send no heartbeats, those that a signal has stopped."""
        found = []
        before, self.stop_clocks = self.stop_clocks, {}
        for pid in pids:
            status = stat(pid)
            if status and status.state == STOPPED:
                clock = self.stop_clocks[pid] = before.get(pid, StopClock())
                if why := clock.observe(now(), STOPPED):
                    process = Process(pid, status.start_ticks)
                    role = "" if self.leader and pid == self.leader.pid else " (a worker)"
                    found.append(Hang(self.name, process, why + role, stopped=True))
        return found

    def member(self, pid: int) -> Process | None:
        """The process `pid`, if it may serve for the program: its leader, or a child of that.

        gunicorn's master may not: it says READY before any worker is ready, and no more.
        """
        if self.leader is None:
            return None
        if pid == self.leader.pid:
            return self.leader.process if self.spec.kind != GUNICORN else None
        status = stat(pid)
        if status is None or status.parent != self.leader.pid:
            return None
        return Process(pid, status.start_ticks)


class ProcessTable:
    """All programs of the stack and their processes.

    `changed` is called when a process has ended, is ready or drains, or a leader was found.
    `ready_before` is what the previous watchdog knew (state.py): of each program the pids of its
    leader and of its ready processes.
    """

    def __init__(
        self,
        home: Home,
        selector: selectors.BaseSelector,
        eventlog: EventLog,
        ready_before: dict[str, tuple[int, list[int]]],
        changed: Callable[[], None],
    ) -> None:
        self.programs: dict[str, Program] = {}
        self._notes = home.programs
        self._selector = selector
        self._eventlog = eventlog
        self._supervisord = SupervisordClient(home.supervisor_socket, eventlog.complain)
        self._ready_before = ready_before
        self._changed = changed
        self._program_of: dict[int, Program] = {}  # by the pid of a serving process

    def configure(self, conf: Conf) -> None:
        """Keep the programs of this configuration, and no others."""
        before, self.programs = self.programs, {}
        for spec in conf.programs:
            program = self.programs[spec.name] = before.pop(spec.name, Program(spec, now()))
            program.spec = spec
        for program in before.values():
            self._remove_serving(program, list(program.serving.values()))
            if program.leader:
                self._release(program.leader)

    # Leaders

    def find_leader(self, program: Program) -> None:
        """Look for a new leader of a program that has none."""
        found = noted(self._notes / program.name) or self._unnoted_leader(program)
        if found is None or found == program.latest:  # a note stays when its process has ended
            self._end_crash_loop_of_stopped(program)
            return
        try:
            leader = HeldProcess(found)
        except ProcessLookupError:
            previous, program.latest = program.latest, found
            # It came and went between two looks; or the note is older than this watchdog.
            if previous:
                self._eventlog.row("started", program.name, str(found.pid))
                program.was_ready = False
                self._count_death(program, found)
        else:
            self.on_start(program, leader)

    def _end_crash_loop_of_stopped(self, program: Program) -> None:
        """An operator has stopped it, on purpose: it crashes no more."""
        if program.crashing:
            state, _ = self._supervisord.state_of(program.name, since=program.since)
            if state in ("STOPPED", "STOPPING"):  # supervisord's words
                program.failures = 0

    def _unnoted_leader(self, program: Program) -> Process | None:
        """Without a note (it was not started yet, or the disk is full): supervisord's answer."""
        _, pid = self._supervisord.state_of(program.name, since=program.since)
        found = find(pid)
        named = found and variable(found, "SUPERVISOR_PROCESS_NAME") == program.name
        return found if named else None

    def on_start(self, program: Program, leader: HeldProcess) -> None:
        """A new process leads a program."""
        program.leader, program.latest, program.since = leader, leader.process, now()
        program.was_ready = False
        self._hold(leader, lambda: self.on_exit(program))
        pid, ready = self._ready_before.pop(program.name, (0, []))
        if pid != leader.pid:
            self._eventlog.row("started", program.name, str(leader.pid))
        elif program.spec.service:  # the previous watchdog knew it, and what serves for it
            for process in filter(None, map(program.member, ready)):
                program.was_ready |= self._add_serving(program, process, draining=False)
        else:
            program.was_ready = bool(ready)
        self._changed()

    def on_exit(self, program: Program) -> None:
        """The leader of a program has ended. Here, in this order:

        - Nothing serves for the program any more, but for the workers of a dead gunicorn's master.
          They go on until the next master's do, and send heartbeats as before.
        - The death is logged, and counted if the program had never been ready.
        - `changed` makes the loop publish the new table to nginx before it does anything else.

        Then, elsewhere:

        - supervisord gets SIGCHLD for the same death. It starts the program again at once, or after
          a pause if it keeps crashing (our plugin supervisor/wakeup.py has the policy).
        - supervisor/launch notes the new leader; `find_leader` finds it, and `on_start` follows.
        - The new process says READY=1, and `on_notification` takes it into rotation.
        """
        leader = program.leader
        if leader is None:
            return
        if program.spec.kind != GUNICORN:
            self._remove_serving(program, list(program.serving.values()))
        self._release(leader)
        program.leader = None
        program.stop_clocks.clear()
        self._count_death(program, leader.process)

    def _count_death(self, program: Program, leader: Process) -> None:
        self._eventlog.row("exit", program.name, str(leader.pid))
        program.since = now()
        program.count_death()
        if program.crashing:
            self._eventlog.row("crashing", program.name, f"{program.failures} times in a row")
        self._changed()

    def on_ready(self, program: Program) -> None:
        """It is known to work: READY=1 of a process; of nginx, that it has workers (loop.py).

        Once per boot supervisord's plugin is told, so that its next death is no failed start.
        """
        if program.crashing:
            self._eventlog.row("recovered", program.name, f"after {program.failures} failures")
        if not program.was_ready:
            self._supervisord.say_ready(program.name)
        program.was_ready, program.failures = True, 0

    # Serving processes

    def on_notification(self, notification: Notification) -> None:
        """A process has sent a datagram."""
        pid = notification.pid
        if pid not in self._program_of:
            for program in self.programs.values():
                if program.leader is None:
                    self.find_leader(program)  # the sender may be newer than the last look
        if known := self._program_of.get(pid):
            process = known.serving[pid]
            process.open_page(notification.page)  # if it is not open yet
            process.heartbeat(now())
            if process.draining != notification.stopping:
                process.draining = notification.stopping
                self._changed()
        elif notification.ready or notification.stopping:
            self._on_first_notification(notification)

    def _on_first_notification(self, notification: Notification) -> None:
        for program in self.programs.values():
            process = program.member(notification.pid)
            if process and self._add_serving(program, process, notification.stopping):
                if notification.ready:
                    self._eventlog.row("ready", program.name, str(process.pid))
                # Or it drains, and the previous watchdog has heard that it was ready.
                self.on_ready(program)
                self._changed()
                return

    def _add_serving(self, program: Program, process: Process, draining: bool) -> bool:
        """Watch a process from now on; False if it has ended already."""
        try:
            serving = ServingProcess(process, draining)
        except ProcessLookupError:
            return False
        program.serving[process.pid] = serving
        self._program_of[process.pid] = program
        self._hold(serving, lambda: self._on_serving_exit(program, serving))
        return True

    def _on_serving_exit(self, program: Program, process: ServingProcess) -> None:
        if program.serving.get(process.pid) is process:
            self._remove_serving(program, [process])
            self._changed()

    def _remove_serving(self, program: Program, processes: Iterable[ServingProcess]) -> None:
        for process in processes:
            self._release(process)
            del program.serving[process.pid]
            del self._program_of[process.pid]

    def forgive(self, late_s: float) -> None:
        """The watchdog itself was late by so much; that time counts against no process."""
        for program in self.programs.values():
            for process in program.serving.values():
                process.liveness.forgive(late_s)
            for clock in program.stop_clocks.values():
                clock.forgive(late_s)

    def _hold(self, process: HeldProcess, on_exit: Callable[[], None]) -> None:
        self._selector.register(process.pidfd, selectors.EVENT_READ, on_exit)

    def _release(self, process: HeldProcess) -> None:
        self._selector.unregister(process.pidfd)
        process.close()
