"""watch.json says of every program what the watchdog and a launcher have to know."""

import json
from pathlib import Path
from typing import Any

from bulkhead.adopt.successor import read_spec
from bulkhead.render.supervisor import render_supervisor, render_watch
from bulkhead.topology.parse import load
from bulkhead.watchdog.state import read_conf

PYTHON = Path("/venv/bin/python")


def rendered(*assignments: str) -> dict[str, Any]:
    text = render_watch(load(Path("stack.toml"), list(assignments)), PYTHON).text
    value: dict[str, Any] = json.loads(text)
    return value


def by_name(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in value["programs"]}


def test_every_program_is_in_it_and_nothing_else() -> None:
    programs = by_name(rendered("services.api.instances=2", "services.web.instances=1"))
    assert {name: one["kind"] for name, one in programs.items()} == {
        "watch": "watch", "nginx": "nginx",
        "api-1": "tornado", "api-2": "tornado", "web-1": "gunicorn",
    }  # fmt: skip
    assert programs["api-2"] == {
        "name": "api-2", "kind": "tornado", "service": "api", "address": "127.0.0.1:8102",
        "weight": 1, "hang_s": 0.5, "grace_s": 10.0,
    }  # fmt: skip
    assert "watch" not in by_name(rendered("stack.watch=false", "proxy.balancer=nginx"))


def test_a_watchdog_that_tells_nginx_nothing_announces_nothing() -> None:
    assert rendered("proxy.closing_s=2")["closing_s"] == 2
    assert rendered()["peers"] is True
    assert rendered("proxy.listen=127.0.0.1:9000")["public"] == "127.0.0.1:9000"
    every = ("proxy.listen=0.0.0.0:9000", "proxy.allow_remote=true")
    assert rendered(*every)["public"] == "127.0.0.1:9000"
    native = rendered("proxy.balancer=nginx", "proxy.closing_s=2")
    assert (native["peers"], native["closing_s"]) == (False, 0)


def test_its_readers_understand_it(tmp_path: Path) -> None:
    topology = load(Path("stack.toml"), [f"stack.home={tmp_path}", "services.web.grace_s=3"])
    file = render_watch(topology, PYTHON)
    file.path.parent.mkdir()
    file.path.write_text(file.text)
    conf = read_conf(file.path)
    assert conf.supervisord[:3] == ["/usr/bin/env", "PYTHONPATH=supervisor", str(PYTHON)]
    assert [one.name for one in conf.programs][:3] == ["watch", "nginx", "api-1"]
    run = str(tmp_path / "run")
    assert read_spec(run, "nginx").address == f"{run}/internal.sock"
    web = read_spec(run, "web-1")
    assert (web.kind, web.address, web.grace_s) == ("gunicorn", "127.0.0.1:8201", 3)
    assert web.watched


def test_an_instance_is_told_where_to_send_heartbeats_only_if_somebody_listens() -> None:
    def environment(*assignments: str) -> str:
        topology = load(Path("stack.toml"), list(assignments))
        (file,) = render_supervisor(topology, Path("/usr/sbin/nginx"), PYTHON, None)
        section = file.text.partition("[program:api-1]")[2].partition("[program:")[0]
        return next(line for line in section.splitlines() if line.startswith("environment="))

    assert 'NOTIFY_SOCKET="' in environment()
    assert 'WATCHDOG_USEC="500000"' in environment()
    assert "WATCHDOG_USEC" not in environment("services.api.hang_s=0")
    assert "NOTIFY_SOCKET" not in environment("stack.watch=false", "proxy.balancer=nginx")
