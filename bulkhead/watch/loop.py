"""The watchdog's loop: hear, see who has ended, look at the rest, tell nginx.

One thread does all of it and never waits for anybody; only supervisord is spoken to from another
(nudge.py).
"""

import os
import selectors
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bulkhead.clock import now
from bulkhead.render.paths import Home
from bulkhead.watch import hangs
from bulkhead.watch.announcer import Announcer
from bulkhead.watch.book import Book
from bulkhead.watch.conf import NGINX, WATCH, read_conf
from bulkhead.watch.crashes import CRASHING
from bulkhead.watch.crew import Crew
from bulkhead.watch.ear import Ear
from bulkhead.watch.hangs import Hang
from bulkhead.watch.hosts import Hosts, read_key
from bulkhead.watch.journal import Journal
from bulkhead.watch.kernel import children, names
from bulkhead.watch.program import Program
from bulkhead.watch.reign import Reign
from bulkhead.watch.strays import Retirement
from bulkhead.watch.tell import NOBODY, Teller

TICK_S = 0.05
SOON_S = 0.005  # a tick while a program is just being started
SOON_FOR_S = 0.5


class Paths(NamedTuple):
    """What is looked at in each tick, as strings: to make them anew costs more than to look."""

    stopping: str
    out: str
    conf: str


class Watch:
    """The watchdog of one stack.

    Raises:
        OSError, ValueError: watch.json cannot be read, or the socket cannot be opened.
    """

    def __init__(self, home: Home) -> None:
        self._paths = Paths(str(home.stopping), str(home.out), str(home.watch_conf))
        self._ended = False
        self._stopping = False
        self._tick_due = now()
        self._selector = selectors.DefaultSelector()
        self._journal = Journal(home)
        self._book = Book(home)
        self._teller = Teller(home.internal_socket, self._selector, self._journal.complain)
        self._strays = Retirement(home)
        self._reign = Reign(home)
        self._crew = Crew(
            home, self._selector, self._journal, self._book.ready_before(), self._changed
        )
        self._conf_stamp = (0, 0)
        self._nginx_workers: frozenset[int] = frozenset()
        self._read_conf()
        self._announcer, self._hosts = self._other_hosts()
        self._ear = Ear(home.notify_socket)
        self._selector.register(self._ear.socket, selectors.EVENT_READ, self._hear)
        self._selector.register(
            self._crew.nudger.signal, selectors.EVENT_READ, self._crew.take_reports
        )
        self._journal.row("watching", WATCH, str(os.getpid()))

    def run(self) -> None:
        """Watch until told to end."""
        while not self._ended:
            self._turn()
        self._ear.close()
        if self._announcer:
            self._announcer.close()
        if self._hosts:
            self._hosts.close()

    def end(self) -> None:
        """End after this turn; for a signal handler."""
        self._ended = True

    def _turn(self) -> None:
        for key, _ in self._selector.select(max(0.0, self._tick_due - now())):
            try:
                key.data()
            except Exception as error:
                self._journal.complain(f"event: {error!r}")
        late = now() - self._tick_due
        if late < 0:
            return
        with self._journal.unhurt("beats"):
            self._hear()  # before anybody is judged by them
        if late > TICK_S:
            self._crew.forgive(late)
        if self._hosts:
            self._hosts.turn(late if late > TICK_S else 0.0)
        self._tick()
        self._tick_due = now() + (SOON_S if self._soon() else TICK_S)

    def _changed(self) -> None:
        """Something is not as it was: look at all of it in this turn, and let nginx know."""
        self._tick_due = now()

    def _hear(self) -> None:
        for beat in self._ear.hear():
            try:
                self._crew.heard(beat)
            except Exception as error:
                self._journal.complain(f"beat: {error!r}")

    def _tick(self) -> None:
        with self._journal.unhurt("watch.json"):
            self._read_conf()
        with self._journal.unhurt("run"):
            self._stopping = os.path.exists(self._paths.stopping)  # noqa: PTH110
        with self._journal.unhurt("supervisord"):
            self._look_at_supervisord()
        self._look_at_programs()
        with self._journal.unhurt("strays"):
            for name, what in self._strays.turn(now(), self._conf, self._crew.programs):
                self._journal.row("stray", name, what)
        with self._journal.unhurt("nginx"):
            self._tell()
        with self._journal.unhurt("book"):
            self._book.write(self._crew.programs)

    def _look_at_programs(self) -> None:
        marked: list[str] = []
        with self._journal.unhurt("out"):
            marked = names(self._paths.out)
        hung: list[Hang] = []
        for program in self._crew.programs.values():
            with self._journal.unhurt(program.name):
                program.out = program.name in marked
                if program.leader is None:
                    self._crew.seek(program, may_start=not self._stopping)
                hung += self._look_at(program)
        # Stopped ones first: what they hold, a lock of the ledger perhaps, others wait for.
        for hang in sorted(hung, key=lambda one: not one.stopped):
            with self._journal.unhurt(hang.program):
                self._journal.row("hang", hang.program, f"{hang.pid} {hang.why}")
                hangs.kill(hang)

    def _look_at(self, program: Program) -> list[Hang]:
        if program.spec.kind != NGINX or program.leader is None:
            return [] if self._stopping else hangs.instance(program)
        workers = children(program.leader.process.pid)
        self._nginx_workers = frozenset(workers)
        if workers and not program.was_ready:  # it forks them when it has bound all its sockets
            self._journal.row("ready", program.name, str(program.leader.process.pid))
            self._crew.was_ready(program)
            self._teller.again()
        return [] if self._stopping else hangs.nginx(program, workers)

    def _look_at_supervisord(self) -> None:
        reign = self._reign
        if reign.held is None:
            self._find_supervisord()
        elif (why := reign.look()) and not self._stopping:
            self._journal.row("hang", "supervisord", f"{reign.held.process.pid} {why}")
            reign.held.kill()

    def _find_supervisord(self) -> None:
        found = self._reign.find()
        if found is None:
            if now() < self._reign.due or self._stopping or not self._conf.supervisord:
                return
            found = self._reign.start(self._conf)
            self._journal.row("supervisord", "supervisord", str(found.process.pid))
        self._selector.register(found.pidfd, selectors.EVENT_READ, self._supervisord_ended)

    def _supervisord_ended(self) -> None:
        assert self._reign.held is not None
        self._selector.unregister(self._reign.held.pidfd)
        self._reign.ended()
        self._journal.print_to_file()
        self._changed()

    def _tell(self) -> None:
        lines = list(filter(None, map(line, self._crew.programs.values())))
        if self._announcer:
            self._announcer.tell(lines)
        if self._conf.peers:
            if self._hosts:
                if not self._hosts.has_listened():
                    return  # nginx keeps what the watchdog before this one has told it
                lines += self._hosts.lines()
            table = "".join(f"{one}\n" for one in lines)
            self._teller.tell(table or NOBODY, self._nginx_workers)

    def _other_hosts(self) -> tuple[Announcer | None, Hosts | None]:
        """Whom to tell and whom to hear, in a stack of several hosts."""
        conf, announcer, hosts = self._conf, None, None
        if conf.tell:
            key = read_key(conf.key_file)
            announcer = Announcer(conf.host, conf.tell, key, self._journal.complain)
        if conf.hear:
            report = partial(self._journal.row, "host")
            hosts = Hosts(conf.hear, read_key(conf.key_file), report)
            hosts.register(self._selector, self._changed)
        return announcer, hosts

    def _soon(self) -> bool:
        """Whether a program is just being started."""
        recent = now() - SOON_FOR_S
        return any(
            one.leader is None and one.since > recent and one.failures < CRASHING
            for one in self._crew.programs.values()
        )

    def _read_conf(self) -> None:
        found = os.stat(self._paths.conf)  # noqa: PTH116
        # Each writing makes a new file; two within one tick of the kernel have the same time.
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._conf_stamp:
            self._conf_stamp = stamp
            self._conf = read_conf(Path(self._paths.conf))
            self._crew.take(self._conf)


def line(program: Program) -> str:
    """A program in nginx's table; empty for what is no instance."""
    spec = program.spec
    if not spec.service:
        return ""
    boot = program.leader.process.pid if program.leader else 0
    return f"{spec.service} {spec.name} {spec.address} {spec.weight} {program.peer()} {boot}"
