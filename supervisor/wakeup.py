"""A plugin for supervisord: a program that dies is started again at once, not a second later.

    [rpcinterface:wakeup]
    supervisor.rpcinterface_factory = wakeup:make

Put this file into a folder that is on supervisord's PYTHONPATH. It needs Python 3.9 or later and
supervisor 4; nothing else has to change.

Plain supervisord waits in poll(2) for up to a second. Each pass of its main loop starts dead
programs again, and then reaps those that have died meanwhile (`Supervisor.runforever`): a death
costs up to two waits. A signal ends none, because Python resumes poll(2) after it (PEP 475).

The plugin does four things:

- SIGCHLD ends the wait. CPython writes each signal into a pipe (`signal.set_wakeup_fd`), and
  supervisord polls that pipe with its other descriptors.
- Pauses between failed starts end on time, and have one policy: `pause_s` below.
- `wakeup.ready` is an XML-RPC method: a program has become ready, once per boot. The next death of
  that program is then no failed start, however soon it comes.
- A new child does not call close(2) for each number below `minfds`, about 1 ms per 1,000. exec
  closes them by itself if they are marked once.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from supervisor.events import ProcessStateBackoffEvent, subscribe
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import ProcessStates

LONGEST_PAUSE_S = 5.0

# The plugin's own byte in the pipe. No signal has this number.
ONE_MORE_PASS = b"\0"
FORGIVEN = -1
FIRST_DESCRIPTOR = 3  # after stdin, stdout and stderr


def pause_s(early_deaths: int) -> float:
    """Seconds to wait before a start. `early_deaths`: so many in a row, each within `startsecs`.

    The first may have been an accident, so there is no pause. From the second on, each pause is a
    second longer than the one before, up to a limit: the program is back soon after its cause is
    mended.
    """
    return min(max(0.0, early_deaths - 1.0), LONGEST_PAUSE_S)


def make(supervisord: Any, **_config: str) -> "Methods":
    """Called by supervisord for each of its HTTP servers, when it starts or reloads."""
    if not any(isinstance(dispatcher, Wakeup) for dispatcher in asyncore.socket_map.values()):
        Wakeup(supervisord)
    return Methods(supervisord)


class Methods:
    """The XML-RPC methods under the name of the [rpcinterface:...] section."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord

    def ready(self, names: list[str]) -> bool:
        """These programs (`name`, or `group:name`) have become ready. Unknown names are ignored."""
        for process in processes(self._supervisord):
            name = process.config.name
            if name in names or f"{process.group.config.name}:{name}" in names:
                if process.state == ProcessStates.STARTING:
                    process.backoff = FORGIVEN  # the next death counts as none in a row
                elif process.state == ProcessStates.BACKOFF:  # it has died before this call came
                    process.backoff, process.delay = 0, 0
        return True


class Wakeup:
    """The read end of the pipe: one of the dispatchers that supervisord's main loop polls."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._read_end, self._write_end = os.pipe()  # neither is inherited by programs
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        # Only signals that have a handler are written into the pipe. Nobody else in supervisord
        # uses this one; a program gets neither the handler nor the timer (exec, fork(2)).
        signal.signal(signal.SIGALRM, lambda *_: None)
        asyncore.socket_map[self._read_end] = self
        subscribe(ProcessStateBackoffEvent, self._on_early_death)
        # Mark what supervisord inherited. Whatever Python opens is marked already (PEP 446).
        for descriptor in range(FIRST_DESCRIPTOR, supervisord.options.minfds):
            with suppress(OSError):  # not open
                os.set_inheritable(descriptor, False)
        # The limit itself is set by now. From here on only new children look at this number.
        supervisord.options.minfds = FIRST_DESCRIPTOR
        self._pass_once_more()  # the first pass would wait for up to a second before any start

    def readable(self) -> bool:
        """Poll this descriptor for reading, always."""
        return True

    def writable(self) -> bool:
        """Never for writing."""
        return False

    def handle_read_event(self) -> None:
        """A signal has come. The pass that has just begun reaps; the next one starts again."""
        try:
            signals = os.read(self._read_end, 4096)
        except BlockingIOError:
            return
        if signals.strip(ONE_MORE_PASS):
            self._pass_once_more()
        if signal.SIGALRM in signals:
            self._set_timer()  # there may be other pauses

    def _pass_once_more(self) -> None:
        with suppress(BlockingIOError):  # a full pipe ends the wait as well
            os.write(self._write_end, ONE_MORE_PASS)

    def handle_error(self) -> None:
        """Go on without the pipe: as slow as plain supervisord, but not broken."""
        self._supervisord.options.logger.critical(f"wakeup: {asyncore.compact_traceback()}")
        self.close()

    @property
    def server(self) -> Any:
        """One of the HTTP servers: before a reload supervisord closes what belongs to one."""
        return next((server for _, server in self._supervisord.options.httpservers), None)

    def close(self) -> None:
        """Forget the pipe before its descriptors become somebody else's."""
        if asyncore.socket_map.get(self._read_end) is not self:
            return
        del asyncore.socket_map[self._read_end]
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        os.close(self._read_end)
        os.close(self._write_end)

    def _on_early_death(self, event: Any) -> None:
        """A program has died within `startsecs`, or could not be started. Set its pause."""
        process = event.process
        pause = pause_s(process.backoff)
        if pause:
            process.delay = time.time() + pause
            self._set_timer()
        else:
            process.delay = 0
            self._pass_once_more()  # no signal follows if it could not be started

    def _set_timer(self) -> None:
        """Let SIGALRM end the wait when the next pause is over."""
        now = time.time()
        pauses = [
            process.delay - now
            for process in processes(self._supervisord)
            if process.state == ProcessStates.BACKOFF and process.delay > now
        ]
        # supervisord starts it when the time is past, not when it has just come.
        signal.setitimer(signal.ITIMER_REAL, min(pauses) + 0.001 if pauses else 0)


def processes(supervisord: Any) -> Iterable[Any]:
    """Every program's process, as supervisord knows it (supervisor/process.py, Subprocess)."""
    for group in supervisord.process_groups.values():
        yield from group.processes.values()
