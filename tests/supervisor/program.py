"""A program for supervisord: it listens at a port, and accepts whoever connects.

`python program.py PORT [FILE]`: while FILE exists, it ends at its start.
"""

import os
import socket
import sys
import time

print("start", flush=True)  # so that supervisord has output to read
if len(sys.argv) > 2 and os.path.exists(sys.argv[2]):  # noqa: PTH110 - few imports, quick to start
    sys.exit(1)
with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64) as listening:
    listening.settimeout(0.05)
    while True:
        try:
            listening.accept()[0].close()
        except TimeoutError:
            print(time.monotonic(), flush=True)
