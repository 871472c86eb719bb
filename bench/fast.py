"""An instance that costs next to nothing: nginx says 200, so only its client is measured.

`python -m bench.fast` takes the same environment as a service. nginx answers in the name of this
process, which itself only says that it is ready (sd_notify(3)), as any instance does. PATH has to
lead to nginx.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from services.common.identity import current
from services.common.notify import Notifier

EVERY_S = 0.1
CONF = """\
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    add_header X-Request-ID $http_x_request_id;
    add_header X-Instance {identity.instance}; add_header X-Boot {identity.boot};
    server {{ listen {address}; location / {{ return 200 "<html></html>"; }} }}
}}
"""


def main() -> int:
    """Serve until SIGTERM; 1 when nginx ends by itself."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    identity = current()
    notifier = Notifier.from_environment()
    with tempfile.TemporaryDirectory() as name:
        conf = Path(name) / "nginx.conf"
        address = os.environ["BULKHEAD_ADDRESS"]
        conf.write_text(CONF.format(folder=name, address=address, identity=identity))
        # It must not outlive this process, however that ends.
        end_with_it = ("setpriv", "--pdeathsig", "KILL")
        command = [*end_with_it, "nginx", "-p", name, "-e", "stderr", "-c", str(conf)]
        with subprocess.Popen(command) as nginx:
            try:
                notifier.ready(lambda _delay_s, _call: None)  # the loop below is its timer
                while nginx.poll() is None:
                    notifier.heartbeat()
                    time.sleep(EVERY_S)
                return 1
            finally:
                nginx.kill()


if __name__ == "__main__":
    sys.exit(main())
