"""What a change of the topology does to a running stack, told from the rendered files alone."""

import json
from pathlib import Path

import pytest

from bulkhead.control.plan import (
    Plan,
    blend,
    compare,
    finishing,
    lines,
    obstacles,
    reasons,
    sections,
)
from bulkhead.control.stack import render
from bulkhead.render.paths import Home
from bulkhead.topology.load import load
from bulkhead.topology.model import Topology

Rendered = tuple[Topology, dict[Path, str]]
HOME = Home(Path("var").resolve())


def version(*assignments: str) -> Rendered:
    topology = load(Path("stack.toml"), assignments)
    files = render(topology, Path("/usr/sbin/nginx"))
    return topology, {one.path: one.text for one in files}


SHIPPED = version()


def plan(*assignments: str) -> Plan:
    return compare(HOME, SHIPPED[1], version(*assignments)[1])


def test_the_same_topology_changes_nothing() -> None:
    assert plan() == Plan()
    assert plan().empty


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
    said = lines(HOME, SHIPPED[1], version(*changes)[1], found)
    assert said[:3] == [
        "1. add api-5",
        "2. roll web-1, web-2: environment, stopwaitsecs differs",
        "3. let nginx read its configuration again",
    ]


def test_the_keys_that_differ_are_named_and_not_their_values() -> None:
    _, after = version('services.api.env.PASSWORD="secret"')
    assert reasons(HOME, SHIPPED[1], after, "api-1") == ["environment"]
    assert reasons(HOME, SHIPPED[1], after, "web-1") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stack.name=other", "stack.name cannot change from bulkhead to other"),
        ("proxy.listen=127.0.0.1:9090", "proxy.listen cannot change"),
        ("proxy.balancer=nginx", "proxy.balancer cannot change"),
        ("proxy.connections=2048", "proxy.connections cannot change from 4096 to 2048"),
        ("services.api.port=9101", "api-1 cannot move from 127.0.0.1:8101 to 127.0.0.1:9101"),
    ],
)
def test_what_needs_a_restart_is_said(change: str, words: str) -> None:
    after = version(change)
    found = obstacles(SHIPPED[0], after[0], SHIPPED[1], after[1])
    assert words in found[0]


@pytest.mark.parametrize(
    "change", ["services.api.instances=8", "services.api.weights=[1,2,3,4]", "proxy.grace_s=20"]
)
def test_what_needs_none_has_no_obstacle(change: str) -> None:
    after = version(change)
    assert obstacles(SHIPPED[0], after[0], SHIPPED[1], after[1]) == []


def test_another_supervisord_section_is_an_obstacle() -> None:
    topology, files = SHIPPED
    other = files | {
        HOME.supervisord_conf: files[HOME.supervisord_conf].replace("chmod=0700", "chmod=0600")
    }
    assert "supervisor/ has changed" in obstacles(topology, topology, files, other)[0]


def test_comments_are_no_part_of_a_program() -> None:
    text = "; top\n[program:a]\ncommand=x=1\n; why\nstartsecs=3\n\n[program:b]\ncommand=y\n"
    assert sections(text) == {
        "program:a": {"command": "x=1", "startsecs": "3"},
        "program:b": {"command": "y"},
    }


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
    found = finishing(Plan(), names, ["api-3"], ["api-2", "nginx"], ["api-4"], [])
    assert found == Plan(added=("api-3",), changed=("api-2",), removed=("api-4",))
    known = Plan(added=("api-3",), changed=("api-1",))
    assert finishing(known, names, ["api-3"], ["api-1"], [], []) == known


def test_an_instance_that_was_left_out_of_rotation_is_replaced_once() -> None:
    names = ["api-1", "api-2"]
    found = finishing(Plan(), names, ["api-2"], ["api-1"], [], ["api-1", "api-2", "api-9"])
    assert found == Plan(added=("api-2",), changed=("api-1",))
    assert lines(HOME, SHIPPED[1], SHIPPED[1], Plan(changed=("api-1",))) == [
        "1. roll api-1: left half-way"
    ]
