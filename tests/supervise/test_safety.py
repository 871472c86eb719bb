"""What in a home is not ours, or leads out of it."""

import os
from pathlib import Path

import pytest

from bulkhead.render.paths import Home
from bulkhead.supervise.home import MOST_LINES, unsafe

NOBODY = 65534
FILES = (
    *("log/api-1.log", "log/supervisord.log", "log/supervisord.out", "rows/proxy.jsonl"),
    *("rows/service.jsonl", "rows/watch.jsonl", "data/ledger.sqlite3", "data/session.key"),
    *(
        "tmp/body/1/2",
        "run/programs/api-1",
        "run/drained/api-1",
        "run/watch.lock",
        "etc/nginx.conf",
    ),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with all its files."""
    made = Home(tmp_path / "home")
    for name in FILES:
        path = made.path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    return made


def test_a_home_of_our_own_is_safe(home: Home) -> None:
    assert unsafe(home) == []
    assert unsafe(Home(home.path / "none")) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_is_named(home: Home, tmp_path: Path, name: str, dangling: bool) -> None:
    victim = tmp_path / "victim"
    if not dangling:
        victim.touch()
    (home.path / name).unlink()
    (home.path / name).symlink_to(victim)
    (line,) = unsafe(home)
    assert line.startswith(f"{home.path / name}: is a link to {victim}, which")


@pytest.mark.parametrize("name", ["log", "rows", "etc", "run", "data", "tmp", "run/programs"])
def test_a_folder_that_is_a_link_is_named_and_not_entered(home: Home, name: str) -> None:
    folder = home.path / name
    folder.rename(home.path / "elsewhere")
    folder.symlink_to(home.path / "elsewhere")
    assert [line.partition(": ")[0] for line in unsafe(home)] == [str(folder)]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_named(home: Home, mode: int) -> None:
    home.rows.chmod(mode)
    assert unsafe(home) == [
        f"{home.rows}: others may write to it (mode {mode:04o}): chmod go-w {home.rows}"
    ]
    home.rows.chmod(0o755)  # to be read by others is their owner's choice
    assert unsafe(home) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_others_is_named(home: Home) -> None:
    os.chown(home.ledger, NOBODY, -1)
    (line,) = unsafe(home)
    assert line.startswith(f"{home.ledger}: belongs to nobody, and this is root: ")


def test_of_many_some_are_named(home: Home) -> None:
    for number in range(20):
        (home.log / str(number)).symlink_to("/nowhere")
    lines = unsafe(home)
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == f"{home.path}: and {20 - MOST_LINES} more like these"
