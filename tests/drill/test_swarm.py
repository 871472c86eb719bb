"""Nothing in the user's environment or files changes a load: every option that Locust reads."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bulkhead.drill import swarm
from bulkhead.drill.closed_load import Load, run_locust
from bulkhead.drill.swarm import Swarm
from bulkhead.records import ClientRow, read_rows
from bulkhead.rundir import RunDir
from tests.loadtest.stub import Stub, serving
from tests.support.stack import ROOT

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
CONFIG_FILES = ("locust.conf", ".locust.conf", "pyproject.toml")
# Locust reads this one besides those of its options.
USER_CLASSES = "LOCUST_USER_CLASSES"


class Option(NamedTuple):
    """One option of Locust: see locust_options.py."""

    name: str
    variable: str
    value: str
    obeyed: bool


@pytest.fixture(scope="module")
def options() -> list[Option]:
    done = subprocess.run(
        [sys.executable, HERE / "locust_options.py"], capture_output=True, text=True, check=True
    )
    return [Option(*json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture
def elsewhere() -> Iterator[Stub]:
    """Where nothing may be sent."""
    with serving() as stub:
        yield stub


@pytest.fixture
def hostile(
    options: list[Option], elsewhere: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A user with settings of his own wherever a load could find any; a checkout of his, too."""
    values = {one.name: one.value for one in options} | {"host": elsewhere.url}
    plain = "".join(f"{name} = {value}\n" for name, value in values.items())
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    for folder in ("home", "working", "checkout"):
        (tmp_path / folder).mkdir()
        for name in CONFIG_FILES:
            text = f"[tool.locust]\n{toml}" if name.endswith("toml") else plain
            (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
        (tmp_path / folder / "sitecustomize.py").write_text("raise SystemExit('somebody else')\n")
    (tmp_path / "checkout" / "sitecustomize.py").unlink()  # a checkout's code is what is run
    for one in options:
        if one.variable:
            monkeypatch.setenv(one.variable, values[one.name])
    monkeypatch.setenv(USER_CLASSES, "Nobody")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "home" / "sitecustomize.py"))
    monkeypatch.setenv("GEVENT_RESOLVER", "nobody")
    (tmp_path / "settings.json").write_text('{"proxy_url": "http://nobody", "pace": 97}')
    monkeypatch.setenv("BULKHEAD_LOAD_SETTINGS", str(tmp_path / "settings.json"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "working")
    return tmp_path / "checkout"


def test_every_value_of_the_hostile_user_is_one_that_locust_would_obey(
    options: list[Option],
) -> None:
    """Or the tests below would prove nothing about that option."""
    assert len([one for one in options if one.variable]) > 40
    assert [one.variable for one in options if one.variable and not one.obeyed] == []


def test_none_of_them_reaches_locust(options: list[Option], hostile: Path, tmp_path: Path) -> None:
    given = swarm.environment(hostile, tmp_path / "run")
    assert [one.variable for one in options if one.variable in given] == []
    assert set(given) <= {*swarm.KEPT, "HOME", "LANG", "PYTHONPATH"}


def told(checkout: Path, folder: Path, workers: int) -> dict[str, Any]:
    """What each process of a swarm says it was told, without what differs between two swarms."""
    folder.mkdir()
    (checkout / "dumping.py").write_text((HERE / "dumping_locustfile.py").read_text())
    out = RunDir(folder)
    words = ["--headless", "--only-summary", "--users", "2", "--run-time", "1s"]
    if not (checkout / "loadtest").exists():
        (checkout / "loadtest").symlink_to(ROOT / "loadtest")
    with Swarm("dumping.py", words, {}, workers, checkout, out) as load:
        load.start()
        assert load.wait(30), out.locust_log.read_text()
    roles = ["leader", *(f"worker-{one}" for one in range(workers) if workers > 1)]
    found = {role: json.loads((folder / f"dump-{role}.json").read_text()) for role in roles}
    for one in found.values():
        one["options"].pop("master_port")
        assert json.loads(one["settings"])["parent_pid"] == os.getpid()
    text = json.dumps(found).replace(str(folder), "RUN").replace(str(checkout), "ROOT")
    plain: dict[str, Any] = json.loads(text)
    return plain


@pytest.mark.parametrize("workers", [1, 2])
def test_every_process_of_locust_is_told_the_same_as_for_any_other_user(
    hostile: Path, tmp_path: Path, workers: int
) -> None:
    theirs = told(hostile, tmp_path / "theirs", workers)
    with pytest.MonkeyPatch.context() as calm:
        for name in set(os.environ) - {"PATH"}:
            calm.delenv(name)
        (tmp_path / "calm").mkdir()
        ours = told(tmp_path / "calm", tmp_path / "ours", workers)
    assert theirs == ours
    assert all(one["proxies"] == {} and one["password"] is None for one in theirs.values())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_goes_where_the_command_says(
    hostile: Path, elsewhere: Stub, tmp_path: Path, workers: int
) -> None:
    assert hostile.is_dir()
    (tmp_path / "run").mkdir()
    run = RunDir(tmp_path / "run")
    said: list[str] = []
    with serving() as stub:
        load = Load(4, 2, "steady", 0.2, workers, None)
        run_locust(ROOT, stub.url, load, run, said.append)
    rows = list(read_rows(run.client_rows, ClientRow))
    assert sorted(row.id for row in rows) == sorted(stub.ids)
    assert len(rows) > 20
    assert elsewhere.ids == []
    assert len({row.id.rpartition("-")[0] for row in rows}) == 4, "as many users as asked for"
