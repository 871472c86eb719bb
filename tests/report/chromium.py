"""A real browser, once around: it opens a page from a file, runs it, and tells what it became."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, where the sandbox refuses to start
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container's /dev/shm may be too small
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
    "--window-size=1280,2000",
)


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    dom: str
    console: list[str]
    """Every line of the console: errors, refusals of the page's policy, and what it logged."""


def browse(page: Path, profile: Path, fragment: str = "") -> Seen:
    """Open a file, wait until its script is done, and take down the document."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)}")
    done = subprocess.run(
        [program, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri() + fragment],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = done.stderr.splitlines()
    return Seen(done.stdout, [line for line in lines if "CONSOLE" in line])
