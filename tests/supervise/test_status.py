"""Status: what is counted as a restart, and how it is shown."""

from dataclasses import asdict
from pathlib import Path

from bulkhead.render.paths import Home
from bulkhead.report.status import text
from bulkhead.supervise.status import ProcessStatus, StackStatus, restarts, tail

LOG = """\
2026-01-01 10:00:00,000 INFO supervisord started with pid 10
2026-01-01 10:00:00,100 INFO spawned: 'watch' with pid 11
2026-01-01 10:00:00,200 INFO spawned: 'api-1' with pid 12
2026-01-01 10:00:05,000 INFO spawned: 'api-1' with pid 13
2026-01-01 10:01:00,000 INFO supervisord started with pid 20
2026-01-01 10:01:00,100 INFO spawned: 'watch' with pid 21
2026-01-01 10:01:00,200 INFO spawned: 'api-1' with pid 22
2026-01-01 10:01:09,000 INFO spawned: 'api-1' with pid 23
"""


def test_a_shim_is_no_restart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert restarts(home) == {"supervisord": 0}
    home.log.mkdir()
    home.supervisord_log.write_text(LOG)
    assert restarts(home) == {"supervisord": 1, "watch": 0, "api-1": 2}


def test_the_end_of_a_log_is_indented(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == ["    (nothing)"]
    log.write_text("".join(f"{number}\n" for number in range(20)))
    assert tail(log) == [f"    {number}" for number in range(8, 20)]


def test_rows_that_are_lost_are_shown() -> None:
    found = StackStatus(
        "test",
        "http://x",
        "/home",
        [one("api-1", rows_dropped=1200), one("api-2")],
        ("/home/rows",),
    )
    lines = text(found, colour=False).splitlines()
    assert "/home/rows: no space left: what is to be written there is lost" in lines
    assert "api-1: 1,200 rows could not be written since it started" in lines
    assert not any(line.startswith("api-2:") for line in lines)
    assert asdict(found)["full"] == ("/home/rows",)


def one(name: str, **changes: object) -> ProcessStatus:
    values: dict[str, object] = {
        "name": name, "service": "api", "pid": 5, "state": "RUNNING", "ready": True,
        "address": "127.0.0.1:1", "restarts": 0, "uptime_s": 1.0, "memory_mb": 2.0, "workers": (),
    }  # fmt: skip
    return ProcessStatus(**(values | changes))  # type: ignore[arg-type]


def test_the_state_says_what_supervisord_cannot_know() -> None:
    crashing = one(
        "api-4", state="BACKOFF", ready=False, watched="crashing", crashes=4,
        printed=("    the password is missing",),
    )  # fmt: skip
    found = StackStatus(
        "test",
        "http://x",
        "/home",
        [
            one("api-1", watched="up"),
            one("api-2", adopted=True, watched="hung"),
            one("api-3", watched="drained"),
            crashing,
        ],
    )
    lines = text(found, colour=False).splitlines()
    states = [" ".join(line.split()[3:-6]).removesuffix(" yes") for line in lines[1:5]]
    assert states[:3] == ["RUNNING", "RUNNING, adopted, hung", "RUNNING, drained"]
    assert "BACKOFF, crashed 4 times" in lines[4]
    place = lines.index("api-4 keeps crashing; its log ends:")
    assert lines[place + 1] == "    the password is missing"
    assert "test: 3 of 4 ready, at http://x" in lines
    processes = asdict(found)["processes"]
    assert isinstance(processes, list)
    assert processes[3]["crashes"] == 4
