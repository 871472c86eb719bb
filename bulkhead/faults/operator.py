"""The commands of an operator, given to the very stack that a drill runs on.

Each is a process of its own, as it is for an operator: an injection lives in a thread, where a
command could not hold back the signals that must not cut it short.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bulkhead.faults.base import Fault, FaultError, Site

# A roll lets each instance drain for its `grace_s`, and there may be dozens.
LONGEST_S = 300


def patience_s(commands: int) -> float:
    """The `patience_s` of a fault that gives so many commands, one after the other."""
    return Fault.patience_s + commands * LONGEST_S


def command(site: Site, *words: str) -> str:
    """Run `bulkhead WORDS` with the settings that the stack has; what it printed.

    Raises:
        FaultError: it failed, with what it said, or it did not end.
    """
    given = [word for one in assignments(site.record.topology) for word in ("--set", one)]
    try:
        done = _run([*words, "--topology", site.record.source, *given], site.topology.root)
    except subprocess.TimeoutExpired:
        raise FaultError(f"`bulkhead {' '.join(words)}` does not end in {LONGEST_S} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise FaultError(f"`bulkhead {' '.join(words)}` ends with {done.returncode}: {said}")
    return done.stdout


def _run(words: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", *words],
        cwd=root,
        env={name: text for name, text in os.environ.items() if name != "BULKHEAD_SET"},
        start_new_session=True,  # Ctrl-C is for us; this must come to its end
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


def assignments(tree: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """A topology as `--set` takes it, a value each."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from assignments(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}={json.dumps(value)}"
