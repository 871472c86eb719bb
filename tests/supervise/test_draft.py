"""A configuration is tested without a port being opened, and nothing of the test stays."""

import re
from pathlib import Path

import pytest

from bulkhead.errors import ConfigError
from bulkhead.render.paths import Home
from bulkhead.supervise.nginx import test_draft as judge

TEXT = """http {
    server {
        listen 127.0.0.1:8080 backlog=4096;     # a burst waits here
        location / { return 200 "listen 127.0.0.1:1"; }
    }
    server {
        listen "unix:/a home/run/internal.sock";
    }
}
"""


def nginx(folder: Path, home: Home, code: int) -> Path:
    """A program that keeps what it is to judge."""
    home.etc.mkdir(parents=True)
    program = folder / "nginx"
    program.write_text(f'#!/bin/sh\ncp "$6" "{folder}/judged"\necho no >&2\nexit {code}\n')
    program.chmod(0o755)
    return program


def test_what_is_tested_opens_no_port(tmp_path: Path) -> None:
    """`nginx -t` listens on what it tests: who came in that moment would be reset."""
    home = Home(tmp_path / "a home")
    judge(nginx(tmp_path, home, 0), home, TEXT)
    judged = (tmp_path / "judged").read_text()
    place = f'"unix:{home.run}/test.sock"'
    assert re.findall(r"^ *listen (.*?);", judged, re.MULTILINE) == [
        f"{place} backlog=4096",
        '"unix:/a home/run/internal.sock"',
    ]
    assert 'return 200 "listen 127.0.0.1:1"' in judged
    assert list(home.etc.iterdir()) == []


def test_of_what_is_refused_nothing_is_left(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(ConfigError, match=r"nginx refuses .*nginx\.conf\.test:"):
        judge(nginx(tmp_path, home, 1), home, TEXT)
    assert list(home.etc.iterdir()) == []
