"""A service that starts and never listens."""

import signal

print("still loading", flush=True)
signal.pause()
