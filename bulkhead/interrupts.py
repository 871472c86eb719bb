"""Ctrl-C, SIGTERM and SIGHUP: all end a command in the same orderly way, by an exception.

A step that must not be cut short runs inside `signals_deferred`, which raises it at the end.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """One of the ending signals has come. Like KeyboardInterrupt it is no Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def install() -> None:
    """Let every ending signal raise Interrupted in the main thread.

    If SIGHUP is ignored it stays so, for `nohup`. SIGINT does not: a shell without job control
    ignores it in whatever it starts in the background, and a SIGINT that is sent there is meant.
    """
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Raise Interrupted for a signal inside the block only at its end; no child inherits this."""
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: arrived.append(number))
        for number in ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise Interrupted(arrived[0])


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
