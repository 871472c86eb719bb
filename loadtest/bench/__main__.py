"""Requests per CPU-second of the load generator, against an nginx that only says 200.

    python -m loadtest.bench

The CPU time is that of the whole Locust process, its start included. It needs one core for itself
and one for nginx; other work on the machine makes the figures too low.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUN_S = 8
USERS = 50
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
NGINX = """\
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home};
    uwsgi_temp_path {home}; scgi_temp_path {home};
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
}}
"""


def main() -> None:
    """Run the three cases one after another and print a line for each."""
    with tempfile.TemporaryDirectory() as home, nginx(Path(home)) as url:
        rows = str(Path(home) / "client.jsonl")
        for name, user, rows_file in (
            ("FastHttpUser of Locust", "Stock", ""),
            ("OnceUser without rows", "Once", ""),
            ("OnceUser with all rows", "Once", rows),
        ):
            requests, cpu_s = measure(url, user, rows_file)
            print(
                f"{name:24} {requests:9,} requests {cpu_s:6.2f} CPU-s {requests / cpu_s:9,.0f} /s"
            )


def measure(url: str, user: str, rows_file: str) -> tuple[int, float]:
    """The requests that one run made, and its CPU-seconds."""
    before = _cpu_s()
    options = f"--headless --only-summary --json -u {USERS} -r {USERS} -t {RUN_S}s -s 5".split()
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), user, "-H", url, *options],
        env=os.environ | {"BULKHEAD_CLIENT_ROWS": rows_file},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return sum(line["num_requests"] for line in json.loads(done.stdout)), _cpu_s() - before


@contextmanager
def nginx(home: Path) -> Iterator[str]:
    """An nginx with one worker; the URL at which it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    config = home / "nginx.conf"
    config.write_text(NGINX.format(home=home, port=port))
    with subprocess.Popen(["nginx", "-p", str(home), "-c", str(config)]) as process:
        try:
            _await(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(port: int) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                sys.exit("nginx did not start")
            time.sleep(0.02)
        else:
            return


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
