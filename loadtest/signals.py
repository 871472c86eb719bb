"""Signals, where they can do no harm."""

import signal
from collections.abc import Callable

import gevent


def let_ctrl_c_strike_only_the_main_greenlet() -> None:
    """Python raises KeyboardInterrupt in whatever runs when the signal comes.

    That may be a user between its row and its request event, and the counts would not agree. The
    event loop takes the signal between two greenlets, and raises it where Locust waits for it.
    """
    hub = gevent.get_hub()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        gevent.signal_handler(
            signal.SIGINT, hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt()
        )


def call_on_the_next(callback: Callable[[], None]) -> None:
    """From now on Ctrl-C and SIGTERM do no more than have the event loop call `callback`.

    A second one would otherwise end Locust in the middle of its stop, and rows would be lost.
    """
    loop = gevent.get_hub().loop
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.run_callback_threadsafe(callback))
