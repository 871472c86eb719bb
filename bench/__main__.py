"""`make bench`: figures of this machine, side by side in one run, as medians of several.

    python -m bench                       the stack, then the account
    python -m bench accounting [--full]   the account alone; with 5,000,000 requests as well

Absolute times drift from machine to machine and from hour to hour; the ratios are what counts.
The stack that is measured is its own, on free ports, and is gone afterwards.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import accounting
from tests.support.stack import Stack, new_stack

ROUNDS, SECONDS, CONNECTIONS = 3, 4, 32


def main() -> int:
    """Measure what the command line names, or everything; 4 when wrk is missing."""
    if sys.argv[1:2] == ["accounting"]:
        return accounting.main(full="--full" in sys.argv)
    if not shutil.which("wrk"):
        print("bench: wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory() as folder, new_stack(Path(folder) / "home") as stack:
        print(f"time of a command, median of {ROUNDS}", flush=True)
        cold, again, status, down = times(stack)
        for name, seconds in (
            ("up, with everything installed", cold),
            ("up, when it is up", again),
            ("status", status),
            ("down", down),
        ):
            print(f"  {name:<34} {seconds:6.2f} s", flush=True)
        stack.bulkhead("up")
        print(f"requests per second, median of {ROUNDS} x {SECONDS} s, {CONNECTIONS} connections")
        print_rates(stack)
    return accounting.main(full=False)


def times(stack: Stack) -> tuple[float, float, float, float]:
    """Seconds of up, of up again, of status, and of down."""
    samples = [
        [timed(stack, verb) for verb in ("up", "up", "status", "down")] for _ in range(ROUNDS)
    ]
    cold, again, status, down = map(median, zip(*samples, strict=True))
    return cold, again, status, down


def timed(stack: Stack, verb: str) -> float:
    """Seconds that one command takes."""
    began = time.monotonic()
    stack.bulkhead(verb)
    return time.monotonic() - began


def print_rates(stack: Stack) -> None:
    """Every row is measured in turn, round after round, so that drift meets all of them alike."""
    target = "/api/v1/whoami"
    instances = [f"http://127.0.0.1:{port}{target}" for port in stack.ports[1:5]]
    rows: list[tuple[str, Callable[[], float]]] = [
        ("one instance directly", lambda: rate(instances[:1])),
        ("all four instances directly", lambda: rate(instances)),
        ("through nginx, to all four", lambda: rate([stack.url + target])),
        ("nginx alone (a static file)", lambda: rate([stack.url + "/robots.txt"])),
    ]
    found = {name: [0.0] * ROUNDS for name, _ in rows}
    for number in range(ROUNDS):
        for name, measure in rows:
            found[name][number] = measure()
    base = median(found[rows[1][0]])
    for name, _ in rows:
        rates = found[name]
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        share = f"x {median(rates) / base:.2f}"
        print(f"  {name:<34} {median(rates):8,.0f}  ({spread})  {share} of all four directly")


def rate(urls: list[str]) -> float:
    """Answers per second over all urls at once, by one wrk each; any failure ends the bench."""
    running = [
        subprocess.Popen(
            ["wrk", "-t1", f"-c{CONNECTIONS // len(urls)}", f"-d{SECONDS}s", url],
            stdout=subprocess.PIPE,
            text=True,
        )
        for url in urls
    ]
    total = 0.0
    for one in running:
        said, _ = one.communicate(timeout=SECONDS + 30)
        assert "Non-2xx" not in said, said
        assert "Socket errors" not in said, said
        found = re.search(r"Requests/sec:\s+([\d.]+)", said)
        assert found, said
        total += float(found[1])
    return total


if __name__ == "__main__":
    sys.exit(main())
