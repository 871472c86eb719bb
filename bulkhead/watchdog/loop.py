"""The watchdog's loop: hear heartbeats and deaths, judge the rest, tell nginx.

One thread does all of it and never waits. Others only ask what may be slow: supervisord
(supervisor.py), nginx's public listener (upstream.py), names of other hosts (hosts.py).
"""

import os
import selectors
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from bulkhead.clock import now
from bulkhead.proc import child_pids, send
from bulkhead.render.paths import Home
from bulkhead.watchdog.hosts import Announcer, Hosts, read_key
from bulkhead.watchdog.liveness import NotifySocket, ProbeSocket
from bulkhead.watchdog.orphans import Retirement
from bulkhead.watchdog.processes import Hang, ProcessTable, Program
from bulkhead.watchdog.state import NGINX, WATCH, Conf, EventLog, Rotation, StateFile, read_conf
from bulkhead.watchdog.supervisor import Monitor
from bulkhead.watchdog.upstream import NOBODY, PROBE_PATIENCE_S, Probe, Publisher

TICK_S = 0.05
SOON_S = 0.005  # a tick while a program is just being started
SOON_FOR_S = 0.5


class Watchdog:
    """The watchdog of one stack; OSError or ValueError says why it cannot watch."""

    def __init__(self, home: Home) -> None:
        # Strings, because each tick looks there, and to make a path costs more than the look.
        self._stopping_file, self._drained_folder = str(home.stopping), str(home.drained)
        self._conf_file, self._conf_stamp = str(home.watch_conf), (0, 0)
        self._ended = False
        self._stopping = False
        self._drained: list[str] = []
        self._tick_due = now()
        self._nginx_workers: frozenset[int] = frozenset()
        self._selector = selectors.DefaultSelector()
        self._eventlog = EventLog(home)
        self._attempt = self._eventlog.attempt
        self._state_file = StateFile(home)
        self._publisher = Publisher(home.internal_socket, self._selector, self._eventlog.complain)
        self._probe = Probe()
        self._orphans = Retirement(home, self._eventlog)
        self._supervisord = Monitor(home, self._selector, self._eventlog, self._changed)
        self._rotation = Rotation(home)
        before = self._state_file.ready_before()
        self._table = ProcessTable(home, self._selector, self._eventlog, before, self._changed)
        self._read_conf()
        self._announcer: Announcer | None = None
        self._hosts: Hosts | None = None
        if self._conf.tell or self._conf.hear:
            self._join_hosts(self._conf)
        self._notify_socket = NotifySocket(home.notify_socket)
        self._probe_socket = ProbeSocket(home.watch_socket)
        for heard, hear in (
            (self._notify_socket.socket, self._receive_notifications),
            (self._probe_socket.socket, self._probe_socket.answer),
        ):
            self._selector.register(heard, selectors.EVENT_READ, hear)
        self._eventlog.row("watching", WATCH, str(os.getpid()))

    def run(self) -> None:
        """Watch until told to end."""
        while not self._ended:
            self._turn()
        for one in (self._notify_socket, self._probe_socket, self._announcer, self._hosts):
            if one:
                one.close()

    def end(self) -> None:
        """End after this turn; for a signal handler."""
        self._ended = True

    def _turn(self) -> None:
        """Wait for events until the next tick is due; a tick looks at everything."""
        for key, _ in self._selector.select(max(0.0, self._tick_due - now())):
            self._attempt("event", key.data)
        late_s = now() - self._tick_due
        if late_s < 0:
            return
        self._attempt("heartbeats", self._receive_notifications)  # before they are judged by
        if late_s > TICK_S:
            self._table.forgive(late_s)
            self._supervisord.forgive(late_s)
            self._probe.forgive(late_s)
        if self._hosts:
            self._hosts.turn(late_s if late_s > TICK_S else 0.0)
        self._tick()
        self._tick_due = now() + (SOON_S if self._soon() else TICK_S)

    def _changed(self) -> None:
        """Something has changed: look at everything in this turn, and publish it."""
        self._tick_due = now()

    def _receive_notifications(self) -> None:
        for notification in self._notify_socket.receive():
            self._attempt("notification", self._table.on_notification, notification)

    def _tick(self) -> None:
        self._attempt("watch.json", self._read_conf)
        self._attempt("run", self._read_orders)
        self._attempt("supervisord", self._supervisord.turn, self._conf, self._stopping)
        hangs: list[Hang] = []
        for program in self._table.programs.values():
            self._attempt(program.name, self._look_at, program, hangs)
        self._attempt("orphans", self._orphans.turn, self._conf, self._table.programs)
        self._attempt("nginx", self._publish)
        # After nginx was told: it asks what its requests have died of. Stopped ones first: others
        # wait for what they hold, a lock of the ledger perhaps.
        for hang in sorted(hangs, key=lambda hang: not hang.stopped):
            self._attempt(hang.program, self._kill, hang)
        self._eventlog.tell_missing()
        self._attempt("rows", self._rotation.turn, self._conf)
        self._attempt("state", self._state_file.write, self._table.programs)

    def _read_orders(self) -> None:
        """See whether the stack is to stop, and which programs an operator has drained."""
        self._stopping = os.path.exists(self._stopping_file)  # noqa: PTH110
        self._drained = []
        with suppress(FileNotFoundError):
            self._drained = os.listdir(self._drained_folder)  # noqa: PTH208 - names only

    def _look_at(self, program: Program, hangs: list[Hang]) -> None:
        """Bring the process table up to date, and add the program's hung processes to `hangs`."""
        program.drained = program.name in self._drained
        if program.leader is None:
            self._table.find_leader(program)
        if program.spec.kind == NGINX:
            self._look_at_nginx(program)
        if not self._stopping:
            hangs += program.hung_processes(self._nginx_workers, self._notify_socket.all_received)

    def _kill(self, hang: Hang) -> None:
        self._eventlog.row("hang", hang.program, f"{hang.process.pid} {hang.why}")
        send(hang.process, signal.SIGKILL)

    def _look_at_nginx(self, nginx: Program) -> None:
        """See whether it has become ready, and replace its workers if they take no connection."""
        if nginx.leader is None:
            return
        master = nginx.leader.process
        self._nginx_workers = frozenset(child_pids(master.pid))
        if self._nginx_workers and not nginx.was_ready:  # forked when all its sockets are bound
            self._eventlog.row("ready", nginx.name, str(master.pid))
            self._table.on_ready(nginx)
            self._publisher.restart()
            self._probe.restart()
        if nginx.was_ready and self._conf.public and not self._stopping:
            silent_s = self._probe.look(self._conf.public)
            if silent_s > PROBE_PATIENCE_S:  # the old workers finish what they have
                self._eventlog.row("blocked", nginx.name, f"no new connection for {silent_s:.1f} s")
                send(master, signal.SIGHUP)
                self._probe.restart()

    def _publish(self) -> None:
        lines = list(filter(None, (one.peer_line() for one in self._table.programs.values())))
        if self._announcer:
            self._announcer.announce(lines)
        if self._conf.peers:
            if self._hosts:
                if not self._hosts.has_listened():
                    return  # nginx keeps what the previous watchdog has told it
                lines += self._hosts.lines()
            table = "".join(f"{line}\n" for line in lines)
            self._publisher.publish(table or NOBODY, self._nginx_workers)

    def _join_hosts(self, conf: Conf) -> None:
        """Announce to other hosts, or hear them."""
        key = read_key(conf.key_file)
        if conf.tell:
            self._announcer = Announcer(conf.host, conf.tell, key, self._eventlog.complain)
        if conf.hear:
            self._hosts = Hosts(conf.hear, key, partial(self._eventlog.row, "host"))
            self._selector.register(self._hosts.socket, selectors.EVENT_READ, self._hear_hosts)

    def _hear_hosts(self) -> None:
        if self._hosts and self._hosts.hear():
            self._changed()

    def _soon(self) -> bool:
        """Whether a program is just being started."""
        recent = now() - SOON_FOR_S
        return any(
            program.leader is None and program.since > recent and not program.crashing
            for program in self._table.programs.values()
        )

    def _read_conf(self) -> None:
        found = os.stat(self._conf_file)  # noqa: PTH116
        # Each writing makes a new file; two within one tick of the kernel have the same time.
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._conf_stamp:
            self._conf_stamp = stamp
            self._conf = read_conf(Path(self._conf_file))
            self._table.configure(self._conf)
