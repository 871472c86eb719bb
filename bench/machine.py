"""What the figures were taken on: without it they mean nothing."""

import os
import platform
import subprocess
from pathlib import Path

VERSIONS = {
    "nginx": ["nginx", "-v"],
    "HAProxy": ["haproxy", "-v"],
    "Caddy": ["caddy", "version"],
    "commit": ["git", "describe", "--always", "--dirty"],
}


def described() -> dict[str, str]:
    """Cores, load, kernel, and the versions of what is compared."""
    said = {name: first_line(command) for name, command in VERSIONS.items()}
    return {
        "cores": str(os.cpu_count()),
        "load average": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        **said,
    }


def first_line(command: list[str]) -> str:
    """What a program says of itself, on whichever stream; "" when it cannot be run."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
    except OSError:
        return ""
    return done.stdout.partition("\n")[0].strip()
