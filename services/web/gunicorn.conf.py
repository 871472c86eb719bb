"""gunicorn's settings for one instance of the web service. gunicorn reads the names below."""
# ruff: noqa: N999 (the name is the one that gunicorn looks for)

import math
import os
import sys

from services.common.boot import LowPriorityBoot

# Before the imports that take the time.
low_priority = LowPriorityBoot(os.environ)

from services.common.fault_injection import why_not_start  # noqa: E402
from services.common.settings import WebSettings  # noqa: E402
from services.web.worker import guard_forks  # noqa: E402

settings = WebSettings.from_environment()

bind = settings.address
workers = settings.workers
# The name in `ps`, so that an operator sees which master is which (needs setproctitle to show).
proc_name = os.environ.get("BULKHEAD_INSTANCE", "local-1")

# gevent's worker with a loss-free end. A page waits for the ledger for most of its time; a greenlet
# that waits costs a few KB where a thread would cost a stack.
worker_class = "services.web.worker.DrainingWorker"
# Connections per worker, idle ones included; the rest wait in the kernel's queue for the other one.
worker_connections = 1000
# Longest queue of connections that no worker has accepted yet; cut to net.core.somaxconn. It
# bridges the time until a killed worker is replaced, for the listener is the master's.
backlog = 2048

# Off: patching comes before loading, and in the master it would put signals, waitpid and fork under
# gevent; and the identity and the row file belong to one process. Preloading would bring a killed
# worker back in 0.03 s instead of 0.09 s, while its sibling serves, and a first answer no sooner.
preload_app = False

# Not a limit for requests: a worker whose event loop has not turned for this long hangs. No page
# computes for long; a full worker (1000 pages at 2 ms) still turns every few seconds.
timeout = 15
# The workers keep to the grace time by themselves; the master only kills what is left after it.
graceful_timeout = math.ceil(settings.grace_s) + 1
# Seconds that an idle connection is kept. The proxy, which keeps it for 60 s, must close it first:
# else a request can meet a connection that is just being closed, and is lost.
keepalive = 75


def on_starting(_server: object) -> None:
    """Called in the master before it listens and forks for the first time."""
    if reason := why_not_start(settings.admin_dir, proc_name):
        sys.exit(f"services.web: {reason}")
    guard_forks()


def when_ready(_server: object) -> None:
    """Called in the master right before it forks; each worker sees to its own priority."""
    low_priority.restore()


# Only a proxy on this machine may say by which scheme a request came.
forwarded_allow_ips = "127.0.0.1,::1"
# One header says it, the one that the proxy sets; by default gunicorn listens to two more.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
# A request that the proxy lets through must not fail here. The limit of a line, max_header_kb, is
# at most 64. Between 8190 bytes and 1 MB (0) gunicorn knows no limit of a request line.
limit_request_line = 0
limit_request_field_size = 66 * 1024

# The heartbeat is a file's time stamp; on a real disk a stalled write would look like a hang.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
# No remote control: by default gunicorn opens a socket below $HOME, the same for every instance.
control_socket_disable = True
# The service rows are the log of requests; errors go to stderr, which the supervisor keeps.
accesslog = None
errorlog = "-"
