"""wrk: requests as fast as so many connections can carry them; a failure ends the bench."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4


@dataclass(frozen=True)
class Rate:
    """What wrk counted: answers, and how many of them per second."""

    requests: int
    per_s: float


def wrk(urls: Sequence[str], connections: int, seconds: int, script: Path | None = None) -> Rate:
    """Load all `urls` at once, by one wrk each, with so many connections in all.

    `script` says what is sent (a GET, without one); it is given a word that no other run has.

    Raises:
        RuntimeError: an answer was not 2xx or 3xx, or a connection failed; with what wrk said.
    """
    each = max(1, connections // len(urls))
    running = [
        subprocess.Popen(
            ["wrk", "-t1", f"-c{each}", f"-d{seconds}s", *_scripted(script), url, *_word(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for url in urls
    ]
    try:
        said = [one.communicate(timeout=seconds + 30)[0] for one in running]
    finally:
        for one in running:
            if one.poll() is None:
                one.kill()
                one.wait()
    rates = [read(text) for text in said]
    return Rate(sum(one.requests for one in rates), sum(one.per_s for one in rates))


def _scripted(script: Path | None) -> list[str]:
    return ["-s", str(script)] if script else []


def _word(script: Path | None) -> list[str]:
    return ["--", uuid4().hex] if script else []


def read(said: str) -> Rate:
    """What wrk printed, as figures.

    Raises:
        RuntimeError: it failed, or something that it counted did.
    """
    requests = re.search(r"(\d+) requests in", said)
    per_s = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or not requests or not per_s:
        raise RuntimeError(f"wrk: not all was well:\n{said}")
    return Rate(int(requests[1]), float(per_s[1]))
