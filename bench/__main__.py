"""`make bench`: figures of this machine, side by side in one run; medians of several rounds.

    python -m bench                              everything, in the order below
    python -m bench recovery hang                these parts alone
    python -m bench kill-storm --only Caddy --only bulkhead
    python -m bench --rounds 5 --set proxy.balancer=nginx cost
    python -m bench --markdown scale             tables as docs/scale.md has them

`failover` is kill-storm, all-down and hang, which compare with the peers. Each part's measure,
and how to read it: docs/bench.md, docs/scale.md. Every stack that is measured is its own, on free
ports, and is gone afterwards. The figures go to var/bench/<time>.json as well, part by part.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench import accounting, cost, failover, load, recovery, scale, stack
from bench.failover import SCENARIOS
from bench.figures import Table
from bulkhead import clock
from bulkhead.testing import ROOT

FOLDER = ROOT / "var" / "bench"
PROGRAMS = ("wrk", "haproxy", "caddy", "nginx", "setpriv")
VERSIONS = {
    "nginx": ["nginx", "-v"],
    "HAProxy": ["haproxy", "-v"],
    "Caddy": ["caddy", "version"],
    "commit": ["git", "describe", "--always", "--dirty"],
}
ROUNDS = 3

PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Table]]] = {
    "commands": lambda asked: stack.measure_commands(asked.rounds or ROUNDS, asked.set),
    "recovery": lambda asked: recovery.measure(asked.rounds, asked.set),
    **{name: partial(failover.measure, name) for name in SCENARIOS},
    "roll": lambda asked: stack.measure_roll(asked.rounds or ROUNDS, asked.set),
    "cost": lambda asked: cost.measure(asked.rounds or ROUNDS, asked.set),
    "instances": lambda asked: stack.measure_instances(asked.rounds or 1, asked.set),
    "scale": lambda asked: scale.measure(asked.rounds or ROUNDS, asked.set),
    "idle": lambda asked: stack.measure_idle(asked.set),
    "accounting": lambda asked: accounting.measure(asked.full),
    "load": lambda _asked: load.measure(),
}
GROUPS = {"failover": list(SCENARIOS), "all": list(PARTS)}


def main() -> int:
    """Measure what the command line names, or everything; 4 when a program is missing."""
    asked = parsed()
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin"  # Debian's nginx and HAProxy
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        print(f"bench: missing: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 4
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    machine = described()
    print("\n".join(f"{name}: {text}" for name, text in machine.items()), flush=True)
    path = FOLDER / f"{clock.stamp()}.json"
    whole: dict[str, object] = {"machine": machine}
    failed = []
    try:
        for name in asked.parts:
            try:
                carry_out(name, asked, path, whole)
            except Exception:
                traceback.print_exc()
                print(f"bench: {name} failed; the other parts go on", file=sys.stderr)
                failed.append(name)
    except KeyboardInterrupt:
        print("bench: interrupted; everything that it had started is gone", file=sys.stderr)
        return 130
    if path.exists():
        print(f"stored in {path}")
    return 1 if failed else 0


def carry_out(name: str, asked: argparse.Namespace, path: Path, whole: dict[str, object]) -> None:
    """Measure one part, print its tables, and keep them with those of the parts before."""
    began = clock.now()
    tables = []
    for table in PARTS[name](asked):
        tables.append(asdict(table))
        print(f"\n{table.markdown() if asked.markdown else table.text()}", flush=True)
    whole[name] = {"took_s": clock.now() - began, "tables": tables}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    """The command line, with the names of groups replaced by those of their parts."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*PARTS, *GROUPS]
    parser.add_argument("parts", nargs="*", choices=names, metavar="WHAT", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=0, help="how often, instead of the default")
    parser.add_argument("--only", action="append", default=[], help="a proxy's name (failover)")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for every stack")
    parser.add_argument("--full", action="store_true", help="accounting: 5,000,000 requests too")
    parser.add_argument("--markdown", action="store_true", help="tables to be pasted into a page")
    asked = parser.parse_args()
    parts = asked.parts or ["all"]
    asked.parts = [part for name in parts for part in GROUPS.get(name, [name])]
    return asked


def described() -> dict[str, str]:
    """The machine, without which figures mean nothing: cores, load, kernel, versions."""
    found = {
        "cores": str(os.cpu_count()),
        "load average": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for name, command in VERSIONS.items():
        with suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            found[name] = (done.stdout + done.stderr).partition("\n")[0].strip()
    return found


def interrupted(_number: int, _frame: object) -> None:
    """The first signal ends the bench; a second one must not end the cleaning up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
