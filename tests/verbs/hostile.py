"""Arguments that no verb can make anything of, and what is asked of the answer to them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.stack import ROOT

HOSTILE = {
    "a byte that is no text": "a\udcffb",
    "nothing": "",
    "64 KB": "x" * 65_536,
    "two lines": "a\nb",
    "an escape sequence": "\x1b[31m",
    "a line separator": "a\u2028b",
    "a number of 5,000 digits": "9" * 5000,
    "a negative number": "-1",
    "no number": "nan",
}
WIDEST = 1000


def answers(
    commands: Sequence[Sequence[str]], folder: Path, settings: str
) -> list[tuple[int, str, str]]:
    """Exit code, standard output and standard error of each command, run in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.verbs.many"],
        cwd=folder,
        env={**os.environ, "BULKHEAD_SET": settings, "PYTHONPATH": str(ROOT)},
        input="".join(f"{json.dumps(words)}\n" for words in commands),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def wrong(code: int, out: str, said: str) -> str:
    """What is wrong with an answer to a hostile argument, or ""."""
    lines = (out + said).splitlines()
    if "Traceback" in said or code == 70:
        return f"a traceback: {lines[-3:]}"
    if code == 0:
        return "it was taken"
    if code not in (1, 2, 3, 5, 7, 71):
        return f"exit code {code}"
    if len(lines) != 1:
        return f"not one line: {lines[:5]}"
    if not said.startswith("bulkhead"):
        return f"not on standard error, or not by us: {lines}"
    if len(lines[0]) > WIDEST or not lines[0].isprintable():
        return f"no line for a terminal: {lines[0][:200]!r}"
    return ""
