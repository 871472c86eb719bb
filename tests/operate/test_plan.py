"""What a change of the topology does to a running stack, told from the rendered files."""

import atexit
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from bulkhead.operate.plan import (
    Left,
    Plan,
    Version,
    blend,
    compare,
    describe,
    finishing,
    obstacles,
    read_supervisor,
)
from bulkhead.render.paths import Home
from bulkhead.supervise.home import make_folders
from bulkhead.supervise.start import render
from bulkhead.topology.parse import load

# supervisor's reader wants the folders of the logs to exist.
HOME = Home(Path(tempfile.mkdtemp()))
make_folders(HOME)
atexit.register(shutil.rmtree, HOME.path)


def version(*assignments: str) -> Version:
    topology = load(Path("stack.toml"), [f"stack.home={HOME.path}", *assignments])
    nginx = Path("/usr/sbin/nginx")
    return Version(topology, nginx, {one.path: one.text for one in render(topology, nginx)})


SHIPPED = version()


def plan(*assignments: str) -> Plan:
    return compare(SHIPPED, version(*assignments))


def test_the_same_topology_changes_nothing() -> None:
    assert plan() == Plan()


def test_more_instances_are_added_and_nobody_else_is_touched() -> None:
    found = plan("services.api.instances=6")
    assert (found.added, found.changed, found.removed) == (("api-5", "api-6"), (), ())
    assert not found.master


def test_fewer_instances_remove_the_highest_numbers() -> None:
    found = plan("services.api.instances=2", "services.web.instances=1")
    assert (found.added, found.changed, found.removed) == ((), (), ("api-3", "api-4", "web-2"))


def test_another_environment_is_another_version_of_that_service_alone() -> None:
    found = plan('services.web.env.PAGE_SIZE="20"')
    assert (found.added, found.changed, found.removed) == ((), ("web-1", "web-2"), ())
    assert not found.nginx


def test_what_only_nginx_reads_replaces_no_instance() -> None:
    found = plan("proxy.max_header_kb=16")
    assert found.nginx
    assert (found.changed, found.master) == ((), False)


def test_what_supervisord_knows_of_nginx_replaces_its_master() -> None:
    found = plan("proxy.grace_s=20")
    assert (found.master, found.changed) == (True, ())


def test_everything_at_once() -> None:
    changes = ("services.api.instances=5", "services.web.grace_s=20", "proxy.keepalive_s=30")
    found = plan(*changes)
    assert (found.added, found.changed, found.nginx) == (("api-5",), ("web-1", "web-2"), True)
    said = describe(SHIPPED, version(*changes), found)
    assert said[:3] == [
        "1. add api-5",
        "2. roll web-1, web-2: environment, stopwaitsecs differs",
        "3. let nginx read its configuration again",
    ]


def test_the_keys_that_differ_are_named_and_not_their_values() -> None:
    old, new = SHIPPED.supervisor, version('services.api.env.PASSWORD="secret"').supervisor
    assert old.reasons(new, "api-1") == ["environment"]
    assert old.reasons(new, "web-1") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stack.name=other", "stack.name cannot change from bulkhead to other"),
        ("proxy.listen=127.0.0.1:9090", "proxy.listen cannot change"),
        ("proxy.balancer=nginx", "proxy.balancer cannot change"),
        ("proxy.connections=2048", "proxy.connections cannot change from 8192 to 2048"),
        ("services.api.port=9101", "api-1 cannot move from 127.0.0.1:8101 to 127.0.0.1:9101"),
    ],
)
def test_what_needs_a_restart_is_said(change: str, words: str) -> None:
    assert words in obstacles(SHIPPED, version(change))[0]


@pytest.mark.parametrize(
    "change", ["services.api.instances=8", "services.api.weights=[1,2,3,4]", "proxy.grace_s=20"]
)
def test_what_needs_none_has_no_obstacle(change: str) -> None:
    assert obstacles(SHIPPED, version(change)) == []


def test_another_supervisord_section_is_an_obstacle() -> None:
    conf = HOME.supervisord_conf
    other = {conf: SHIPPED.files[conf].replace("chmod=0700", "chmod=0600")}
    after = replace(SHIPPED, files={**SHIPPED.files, **other})
    assert "supervisor/ has changed" in obstacles(SHIPPED, after)[0]


def test_comments_are_no_part_of_a_program() -> None:
    plain = "[supervisord]\n[program:a]\ncommand=x=1\nstartsecs=3\n[program:b]\ncommand=y\n"
    said = "; top\n[supervisord]\n[program:a]\ncommand=x=1\n; why\nstartsecs = 3\n\n"
    said += "[program:b]\ncommand=y\nautostart=true\n"
    found = read_supervisor(plain)
    assert list(found.programs) == ["a", "b"]
    assert found.programs["a"].startsecs == 3
    assert read_supervisor(said) == found
    other = read_supervisor(plain.replace("startsecs=3", "startsecs=4"))
    assert found.reasons(other, "a") == ["startsecs"]


@pytest.mark.parametrize("text", ["", "no section", "[supervisord]\nlogfile=/none/such/log\n"])
def test_a_file_that_supervisord_would_refuse_has_no_programs(text: str) -> None:
    assert read_supervisor(text).programs == {}


def watch_json(*programs: tuple[str, int], closing_s: int = 1) -> str:
    each = [{"name": name, "grace_s": grace_s} for name, grace_s in programs]
    return json.dumps({"closing_s": closing_s, "programs": each})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), [("nginx", 1), ("api-1", 1), ("api-2", 1)]),
        (("api-1",), [("nginx", 1), ("api-1", 9), ("api-2", 1)]),
        (("api-3",), [("nginx", 1), ("api-1", 1), ("api-2", 1), ("api-3", 9)]),
        (("api-2",), [("nginx", 1), ("api-1", 1)]),
        (("nginx", "api-1", "api-2", "api-3"), [("nginx", 9), ("api-1", 9), ("api-3", 9)]),
    ],
)
def test_the_watchdog_is_told_of_each_program_when_it_changes(
    names: tuple[str, ...], expected: list[tuple[str, int]]
) -> None:
    """api-2 goes away, api-3 comes, all have another grace time."""
    old = watch_json(("nginx", 1), ("api-1", 1), ("api-2", 1))
    new = watch_json(("nginx", 9), ("api-1", 9), ("api-3", 9), closing_s=2)
    found = json.loads(blend(old, new, names))
    assert [(one["name"], one["grace_s"]) for one in found["programs"]] == expected
    assert found["closing_s"] == 2
    back = json.loads(blend(json.dumps(found), old, ("nginx", "api-1", "api-2", "api-3")))
    assert {one["name"]: one["grace_s"] for one in back["programs"]} == {
        "nginx": 1, "api-1": 1, "api-2": 1,
    }  # fmt: skip


def test_a_change_that_was_killed_half_way_is_finished() -> None:
    """The files are the new ones already, but supervisord runs something else."""
    names = ["api-1", "api-2", "api-3"]
    found = finishing(Plan(), names, (["api-3"], ["api-2", "nginx"], ["api-4"]), [])
    assert found == Plan(added=("api-3",), changed=("api-2",), removed=("api-4",))
    known = Plan(added=("api-3",), changed=("api-1",))
    assert finishing(known, names, (["api-3"], ["api-1"], []), []) == known


def test_an_instance_that_was_left_drained_is_replaced_once() -> None:
    names = ["api-1", "api-2"]
    left: Left = (["api-2"], ["api-1"], [])
    found = finishing(Plan(), names, left, ["api-1", "api-2", "api-9"])
    assert found == Plan(added=("api-2",), changed=("api-1",))
    said = describe(SHIPPED, SHIPPED, Plan(changed=("api-1",)))
    assert said == ["1. roll api-1: left half-way"]
