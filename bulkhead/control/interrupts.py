"""Ctrl-C, SIGTERM and SIGHUP: all end a command in the same orderly way, by an exception.

Between the birth of a process and the note of its pid there must be no such end: `held` keeps a
signal back until the step is whole.
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

    SIGHUP stays ignored where it is: that is what `nohup` is for. SIGINT does not: a shell without
    job control ignores it in all that it starts in the background, and who sends it means it.
    """
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


@contextmanager
def held() -> Iterator[None]:
    """Raise what comes inside only at the end. A child that is started here inherits nothing."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise Interrupted(came[0])


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
