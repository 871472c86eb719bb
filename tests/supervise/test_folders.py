"""The folders of a home that somebody else has made."""

from pathlib import Path

from bulkhead.render.paths import Home
from bulkhead.supervise.home import make_folders


def test_nobody_else_reaches_the_sockets(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.run.mkdir(parents=True)
    for folder in (home.path, home.run):
        folder.chmod(0o755)
    make_folders(home)
    assert home.run.stat().st_mode & 0o777 == 0o700
