"""What the load generators cost, against an nginx that only says 200.

    python -m loadtest.bench

Requests per CPU-second: the CPU time is that of the whole Locust process, its start included. The
closed loops send as fast as they can; the open loop has a schedule that it can hardly keep to.
How exactly it keeps to one is measured at half the rate that it reached. It all needs one core for
itself and one for nginx; other work on the machine makes the figures worse.
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

from bulkhead.records import ClientRow, read_rows

RUN_S = 8
USERS = 50
CLOSED = Path(__file__).with_name("locustfile.py")
OPEN = Path(__file__).parents[1] / "openloop.py"
OPEN_RATE = 80_000  # arrivals per second: about as many as it can send, or more
NGINX = """\
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home};
    uwsgi_temp_path {home}; scgi_temp_path {home};
    add_header X-Request-ID $http_x_request_id;
    add_header X-Instance bench;
    add_header X-Boot 1;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "<html></html>"; }} }}
}}
"""


def main() -> None:
    """Run the cases one after another and print a line for each."""
    with tempfile.TemporaryDirectory() as home, nginx(Path(home)) as url:
        rows = Path(home) / "client.jsonl"
        stock = say("FastHttpUser of Locust", *closed(url, "Stock", ""))
        for name, rows_file in (("without rows", ""), ("with all rows", str(rows))):
            say(f"OnceUser {name}", *closed(url, "Once", rows_file), stock)
        say("open loop without rows", *open_loop(url, "", OPEN_RATE), stock)
        rows.unlink()
        sent, cpu_s = open_loop(url, str(rows), OPEN_RATE)
        say("open loop with all rows", sent, cpu_s, stock)
        rows.unlink()
        half = round(sent / RUN_S / 2)
        open_loop(url, str(rows), half)
        print(f"open loop at {half:,} /s: {lateness(rows)}")


def say(name: str, requests: int, cpu_s: float, stock: float = 0) -> float:
    """Print a line; the requests per CPU-second."""
    each = requests / cpu_s
    times = f"{each / stock:6.1f} x" if stock else ""
    print(
        f"{name:24} {requests:9,} requests {cpu_s:6.2f} CPU-s {each:9,.0f} /s {times}", flush=True
    )
    return each


def closed(url: str, user: str, rows_file: str) -> tuple[int, float]:
    """The requests that closed-loop users made, and the CPU-seconds."""
    options = f"-u {USERS} -r {USERS} -t {RUN_S}s -s 5".split()
    figures, cpu_s = locust(CLOSED, url, rows_file, {}, user, *options)
    return sum(entry["num_requests"] for entry in figures), cpu_s


def open_loop(url: str, rows_file: str, rate: float) -> tuple[int, float]:
    """The requests that the open loop sent, all of them answered as expected; the CPU-seconds."""
    asked = {
        "BULKHEAD_RATE": str(rate),
        "BULKHEAD_LOAD_S": str(RUN_S),
        "BULKHEAD_CONNECTIONS": str(USERS),
        "BULKHEAD_MIX": '{"page": 1}',
    }
    figures, cpu_s = locust(OPEN, url, rows_file, asked)
    # What it had no connection for in time counts as failed, and costs it a row all the same.
    return sum(entry["num_requests"] - entry["num_failures"] for entry in figures), cpu_s


def locust(
    locustfile: Path, url: str, rows_file: str, asked: dict[str, str], *arguments: str
) -> tuple[list[dict[str, int]], float]:
    """Locust's own figures of one run, and its CPU-seconds."""
    before = _cpu_s()
    options = ["--headless", "--only-summary", "--json", "-H", url, *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(locustfile), *options],
        env=os.environ | {"BULKHEAD_CLIENT_ROWS": rows_file} | asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(done.stdout), _cpu_s() - before


def lateness(path: Path) -> str:
    """How long after their planned moments the requests were sent."""
    late = sorted(row.sent - row.planned for row in read_rows(path, ClientRow) if row.sent)
    quantiles = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    shown = [f"{name} {1000 * late[int(len(late) * at)]:.2f} ms" for name, at in quantiles.items()]
    return f"sent late by {', '.join(shown)}"


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
