"""Liveness: which serving processes hang. The loop (loop.py) kills those; nothing here does.

A process says that its event loop turns (has come round once more) by heartbeats: by datagrams to
the notify socket, and by a heartbeat page. That is a file in its memory into which it writes the
time of each turn; the watchdog opens it by /proc/PID/fd and reads it when it likes.

If heartbeats stay away for longer than `hang_s`, the process hangs. Only time counts in which it
ran or slept. Not counted are the time in the run queue of a processor, for to kill an overloaded
process makes an overload worse; a wait for a disk, for which its successor would wait too; and the
time in which the watchdog itself was late. A process that SIGSTOP has stopped hangs after
STOPPED_S; one that a debugger holds never does.
"""

import os
import re
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bulkhead.clock import now
from bulkhead.proc import HeldProcess, Process

# The third field of /proc/PID/stat (proc(5)).
STOPPED = "T"  # by a signal: not what supervisord calls STOPPED
TRACED = "t"  # by a debugger
RUNNABLE = "R"  # runs, or waits in the run queue
DISK = "D"  # waits for a disk, and cannot be interrupted: not by SIGKILL either
GONE = ""
ENDED = (GONE, "Z", "X")  # no such process, a zombie, dead

# An operator's tool may send SIGSTOP and soon SIGCONT (gcore does). A process that is stopped for
# longer is killed; use a debugger to hold one.
STOPPED_S = 0.2
# A process with a heartbeat within this time is not sampled: that saves most of the samples.
FRESH_S = 0.1
# A process with a page sends a datagram at most this often (services/common/notify.py). If its page
# cannot be read, it gets so much more patience.
DATAGRAMS_S = 0.25

PAGE = struct.Struct("=d")  # as services/common/notify.py writes it
PAGE_NUMBER = re.compile(rb"^X_TURNED=(\d{1,7})$", re.MULTILINE)
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), struct ucred)
CREDENTIALS_SPACE = socket.CMSG_SPACE(CREDENTIALS.size)
READ_BYTES = 4096
BATCH = 256  # datagrams in one turn: a flood must not keep the watchdog from its other work
BACKLOG = 16  # of listen(2)


@dataclass(frozen=True)
class Notification:
    """One datagram in the words of sd_notify(3), as far as the watchdog needs it.

    Each is a heartbeat, with or without WATCHDOG=1, and says all that is true of its sender: a
    process that drains says STOPPING=1 each time, and one with a page says X_TURNED each time.
    """

    pid: int
    ready: bool
    stopping: bool
    page: int = -1  # the sender's descriptor of its heartbeat page (X_TURNED)


class ReplacingSocket:
    """A unix socket that takes the place of the previous watchdog's: bound, then renamed over it.

    A client meets the old one or the new one, never none. Only the holder of the watchdog's lock
    makes one.
    """

    kind = socket.SOCK_STREAM

    def __init__(self, path: Path) -> None:
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, self.kind | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        self.socket.bind(str(temporary))
        if self.kind == socket.SOCK_STREAM:
            self.socket.listen(BACKLOG)
        temporary.rename(path)

    def close(self) -> None:
        """Close the socket and remove it."""
        self.socket.close()
        self._path.unlink(missing_ok=True)


class NotifySocket(ReplacingSocket):
    """The socket on which processes say that they are ready and that their loops turn.

    The kernel adds the sender's pid (SO_PASSCRED): only a privileged process can forge it.
    """

    kind = socket.SOCK_DGRAM
    all_received = True  # whether the last `receive` has emptied it

    def receive(self) -> Iterator[Notification]:
        """The datagrams that have arrived, at most BATCH; never waits."""
        self.all_received = False
        for _ in range(BATCH):
            try:
                text, ancillary, _, _ = self.socket.recvmsg(READ_BYTES, CREDENTIALS_SPACE)
            except BlockingIOError:
                self.all_received = True
                return
            # The buffer has room for the credentials and for no descriptors (SCM_RIGHTS).
            pid = CREDENTIALS.unpack(ancillary[0][2])[0] if ancillary else 0
            words, found = text.split(b"\n"), PAGE_NUMBER.search(text)
            page = int(found[1]) if found else -1
            if pid:  # 0: the sender is in another namespace of pids
                yield Notification(pid, b"READY=1" in words, b"STOPPING=1" in words, page)


class ProbeSocket(ReplacingSocket):
    """run/watch.sock: its answer proves that the watchdog's loop turns (`status --live`)."""

    def answer(self) -> None:
        """Tell a client that has connected the watchdog's pid; never waits."""
        with suppress(OSError):  # it is gone again; or there is no descriptor left
            connection, _ = self.socket.accept()
            with connection:
                connection.setblocking(False)
                connection.send(f"{os.getpid()}\n".encode())


@dataclass(frozen=True)
class Sample:
    """The state of the main thread of a process, and its time so far, in seconds."""

    state: str  # one letter; GONE when there is no such process any more
    ran: float  # on a processor
    queued: float  # in the run queue; the kernel adds a wait when it is over


NO_SAMPLE = Sample(GONE, -1.0, 0.0)


@dataclass
class StopClock:
    """Since when a signal has stopped a process."""

    since: float | None = None

    def observe(self, at: float, state: str, patience_s: float = STOPPED_S) -> str:
        """Note its state. Why it counts as hung now; empty if it does not."""
        if state != STOPPED:
            self.since = None
            return ""
        if self.since is None:
            self.since = at
        stopped = at - self.since
        return f"stopped for {stopped:.2f} s" if stopped > patience_s else ""

    def forgive(self, late_s: float) -> None:
        """The watchdog was late by so much."""
        if self.since is not None:
            self.since += late_s


@dataclass
class Liveness:
    """The heartbeats of one process, and the judgement.

    No I/O: samples are passed in, and times, which are monotonic seconds.
    """

    last_heartbeat: float
    queued_before: float  # `Sample.queued` at its last heartbeat
    forgiven: float = 0.0  # since then: how long the watchdog was late, and the process on a disk
    stop: StopClock = field(default_factory=StopClock)
    last_sample: Sample = NO_SAMPLE
    sampled_at: float = 0.0
    queued_from: float = 0.0  # when its present wait in the run queue began, at the earliest

    def heartbeat(self, at: float, queued: float, age_s: float = 0.0) -> None:
        """A heartbeat was heard that is `age_s` old; the watchdog may have been late since then."""
        self.forgiven = min(self.forgiven, age_s)
        self.last_heartbeat, self.queued_before, self.stop.since = at - age_s, queued, None

    def forgive(self, late_s: float) -> None:
        """The watchdog was late by so much."""
        self.forgiven += late_s
        self.stop.forgive(late_s)

    def fresh(self, at: float) -> bool:
        """Whether its last heartbeat is so recent that a sample is unnecessary."""
        return at - self.last_heartbeat < FRESH_S

    def judge(self, at: float, sample: Sample, hang_s: float) -> str:
        """Note a sample. Why the process counts as hung now; empty if it does not."""
        since = max(self.sampled_at, self.last_heartbeat)
        self._note_wait(at, sample)
        self.sampled_at, self.last_sample = at, sample
        why_stopped = self.stop.observe(at, sample.state, min(STOPPED_S, hang_s))
        if sample.state == STOPPED or sample.state in ENDED:
            return why_stopped
        if sample.state == TRACED:  # its time starts anew when the debugger lets it go
            self.heartbeat(at, sample.queued)
            return ""
        if sample.state == DISK:
            self.forgiven += at - since
        queued = sample.queued - self.queued_before + at - self.queued_from
        silent = at - self.last_heartbeat - self.forgiven - queued
        return f"no turn for {silent:.2f} s" if silent > hang_s else ""

    def _note_wait(self, at: float, sample: Sample) -> None:
        """Set `queued_from`, in favour of the process.

        Example: in 50 ms it has run for 5 ms, and the kernel has added a wait of 15 ms, of which
        10 ms were before the last sample. That makes 10 of the 50 ms; the other 40 ms may be its
        present wait.
        """
        last, since = self.last_sample, max(self.sampled_at, self.last_heartbeat)
        if sample.state != RUNNABLE:
            self.queued_from = at
        elif sample.ran != last.ran:
            before = since - self.queued_from if self.sampled_at > self.last_heartbeat else 0.0
            added = sample.queued - max(last.queued, self.queued_before)
            queued = max(0.0, added - max(0.0, before))
            self.queued_from = min(at, since + queued + sample.ran - last.ran)
        # Else it has not run since the last sample: it is still in the same wait.


class ServingProcess(HeldProcess):
    """A process that serves and sends heartbeats: a Tornado instance, or a gunicorn worker.

    Its files in /proc stay open: to read them costs less, and no later process of that pid is read.
    """

    def __init__(self, process: Process, draining: bool = False) -> None:
        super().__init__(process)
        self.draining = draining
        self.doomed = False  # reported as hung; the loop kills it
        self._page = -1
        self._page_unreadable = False  # it has one that cannot be read
        try:
            self._stat, self._schedstat = self._opened("stat"), self._opened("schedstat")
            self.liveness = Liveness(now(), self._times_s()[1])
        except (FileNotFoundError, ProcessLookupError) as error:
            self.close()
            raise ProcessLookupError(process.pid) from error

    @property
    def unresponsive(self) -> bool:
        """Whether it is stopped, for however short a time, or was reported as hung."""
        return self.doomed or self.liveness.stop.since is not None

    def heartbeat(self, at: float, age_s: float = 0.0) -> None:
        """At `at` a heartbeat was heard, or read, that is `age_s` old."""
        with suppress(ProcessLookupError):  # its end is about to be seen
            # The counter as of the heartbeat, in favour of the process: it was queued ever since.
            queued_then = max(self.liveness.queued_before, self._times_s()[1] - age_s)
            self.liveness.heartbeat(at, queued_then, age_s)

    def newly_hung(self, patience_s: float, all_received: bool) -> str:
        """Why it counts as hung now; empty if it does not, or was reported before.

        `all_received`: no heartbeat is left among the datagrams of the notify socket.
        """
        self._read_page()
        unread = self._page < 0 and not all_received
        if self.doomed or unread or self.liveness.fresh(now()):
            return ""
        if self._page_unreadable:
            patience_s += DATAGRAMS_S
        why = self.liveness.judge(now(), self._sample(), patience_s)
        self.doomed = bool(why)
        return why

    def _read_page(self) -> None:
        """Take a turn that the page tells of, and no datagram yet, as a heartbeat."""
        if self.liveness.fresh(now()):
            return
        turned, at = self.last_turn(), now()
        if self.liveness.last_heartbeat < turned <= at:  # in the future: no time of a turn
            self.heartbeat(at, at - turned)

    def open_page(self, number: int) -> None:
        """Open the page into which it writes its heartbeats: its descriptor `number` (-1: none).

        Nothing is opened if the process has ended, or the watchdog may not read its files.
        """
        if number < 0 or self._page >= 0:
            return
        self._page_unreadable = True
        with suppress(OSError):
            found = self._opened(f"fd/{number}")
            if stat.S_ISREG(os.fstat(found).st_mode):
                self._page, self._page_unreadable = found, False
            else:
                os.close(self._files.pop())

    def last_turn(self) -> float:
        """The last turn of its event loop, by its page, in monotonic seconds; 0 if unknown."""
        written = os.pread(self._page, PAGE.size, 0) if self._page >= 0 else b""
        return float(PAGE.unpack(written)[0]) if len(written) == PAGE.size else 0.0

    def _sample(self) -> Sample:
        try:
            ran, waited = self._times_s()
            text = os.pread(self._stat, READ_BYTES, 0)
        except ProcessLookupError:
            return Sample(GONE, 0.0, 0.0)
        at = text.rindex(b")") + 2  # the name before it may hold anything
        return Sample(text[at : at + 1].decode(), ran, waited)

    def _times_s(self) -> tuple[float, float]:
        """How long it has run so far, and waited for a processor; ProcessLookupError: has ended."""
        ran, waited, _ = os.pread(self._schedstat, READ_BYTES, 0).split()
        return int(ran) / 1e9, int(waited) / 1e9

    def _opened(self, name: str) -> int:
        # A FIFO that a process calls its page must not make the watchdog wait.
        flags = os.O_RDONLY | os.O_NONBLOCK
        self._files.append(os.open(f"/proc/{self.pid}/{name}", flags))
        return self._files[-1]
