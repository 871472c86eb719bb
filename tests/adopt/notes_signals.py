"""A program that prints each signal it gets; `python -m tests.adopt.notes_signals [stubborn]`.

It has a child in its process group, as nginx and gunicorn have. SIGTERM ends it, unless it is
stubborn; the child ends when it does, or not at all.
"""

import os
import signal
import sys
from types import FrameType

stubborn = "stubborn" in sys.argv


def note(number: int, _frame: FrameType | None) -> None:
    """Print it."""
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM and not stubborn:
        os.kill(child, signal.SIGKILL)
        sys.exit(0)


child = os.fork()
if child == 0:
    signal.pause()
for each in ("TERM", "QUIT", "INT", "HUP", "USR1", "USR2"):
    signal.signal(getattr(signal, f"SIG{each}"), note)
print("ready", flush=True)
while True:
    signal.pause()
