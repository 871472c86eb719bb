"""An instance that costs next to nothing: nginx says 200, so that a proxy in front is what counts.

`python -m bench.fast` takes the same environment as a service. nginx answers in the name of this
process, which itself only says that it is ready (sd_notify(3)), as any instance does.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from services.identity import current

EVERY_S = 0.1
CONF = """\
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    add_header X-Instance {instance}; add_header X-Boot {boot};
    server {{ listen {address}; location / {{ return 200 "ok"; }} }}
}}
"""


def main() -> int:
    """Serve until SIGTERM; 1 when nginx ends by itself."""
    signal.signal(signal.SIGTERM, _leave)
    who = current()
    with tempfile.TemporaryDirectory() as name:
        conf = Path(name) / "nginx.conf"
        address = os.environ["BULKHEAD_ADDRESS"]
        text = CONF.format(folder=name, address=address, instance=who.instance, boot=who.boot)
        conf.write_text(text)
        # It must not outlive this process, however that ends.
        end_with_it = ("setpriv", "--pdeathsig", "KILL")
        command = [*end_with_it, "nginx", "-p", name, "-e", "stderr", "-c", str(conf)]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"  # Debian keeps nginx where no user looks
        with subprocess.Popen(command, env=os.environ | {"PATH": path}) as nginx:
            try:
                while nginx.poll() is None:
                    _say_ready()
                    time.sleep(EVERY_S)
                return 1
            finally:
                nginx.kill()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _say_ready() -> None:
    """One beat; nobody has to be there to hear it."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(b"READY=1\nWATCHDOG=1", path)
        except OSError:
            return


if __name__ == "__main__":
    sys.exit(main())
