"""The rendered files, whole, for a few topologies. Run pytest with --update-golden, then read the
diff: every changed line of it is a changed setting of somebody's proxy.
"""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from bulkhead.records import GaveUp
from bulkhead.render.nginx import generation_of, render_nginx
from bulkhead.render.supervisor import render_supervisor
from bulkhead.supervise.nginx import find_nginx
from bulkhead.topology.model import Topology
from bulkhead.topology.parse import load
from tests.support.cases import cases, read_case, write_case

ROOT = Path("stack.toml").resolve().parent


def plain(topology: Topology, folder: Path) -> Topology:
    """The same in a checkout whose name needs no quotes, whatever that of this one needs."""
    root = folder / "checkout"
    root.symlink_to(ROOT)
    return replace(topology, root=root, home=root / topology.home.relative_to(ROOT))


def rendered(topology: Topology) -> list[str]:
    """nginx.conf, supervisord.conf, and the peers that the watched balancer begins with."""
    texts = render_all(topology, Path("/usr/sbin/nginx"), Path("/venv/bin/python"))
    generation = generation_of(texts[0]) if texts[0] else "none"
    return [
        text.replace(str(topology.root), "/checkout").replace(generation, "GENERATION")
        for text in texts
    ]


def render_all(topology: Topology, nginx: Path, interpreter: Path) -> tuple[str, str, str]:
    (supervisor,) = render_supervisor(topology, nginx, interpreter, user=None)
    if not topology.has_proxy:
        return "", supervisor.text, ""
    proxy, *peers = render_nginx(topology, user=None)
    return proxy.text, supervisor.text, "".join(file.text for file in peers)


@pytest.mark.parametrize("case", cases("golden"), ids=lambda path: path.stem)
def test_rendered_files_are_as_reviewed(
    case: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assignments, *expected = read_case(case)
    topology = load(Path("stack.toml"), assignments.splitlines())
    found = rendered(plain(topology, tmp_path))
    if request.config.getoption("--update-golden"):
        write_case(case, [assignments, *found])
    else:
        assert found == expected


@pytest.mark.parametrize("case", cases("golden"), ids=lambda path: path.stem)
@pytest.mark.parametrize("home", ["plain", "with space"])
def test_the_real_programs_accept_them(
    case: Path,
    home: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """nginx -t, and supervisor's own parser: golden text that nobody can read proves nothing."""
    tmp_path = tmp_path_factory.mktemp("a")  # a short name: the path of a unix socket is limited
    assignments = read_case(case)[0].splitlines()
    topology = load(Path("stack.toml"), [*assignments, f"stack.home={tmp_path / home}"])
    for folder in ("run", "log", "tmp", "rows", "etc"):
        (topology.home / folder).mkdir(parents=True)
    nginx = find_nginx("nginx", "")
    proxy, supervisor, _ = render_all(topology, nginx, Path("/venv/bin/python"))
    conf = topology.home / "etc" / "nginx.conf"
    if topology.has_proxy:
        conf.write_text(proxy)
        done = subprocess.run(
            [nginx, "-t", "-p", topology.home, "-c", conf],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    (topology.home / "etc" / "supervisord.conf").write_text(supervisor)
    monkeypatch.syspath_prepend(str(ROOT / "supervisor"))  # as PYTHONPATH of the real one
    programs = parsed_by_supervisor(topology.home / "etc" / "supervisord.conf")
    assert ("nginx" in programs) == topology.has_proxy
    if topology.has_proxy:
        assert programs["nginx"][0].endswith(str(conf)) or home == "with space"
    for one in topology.instances():
        command, environment = programs[one.name]
        assert "/venv/bin/python -m " in command
        assert environment["BULKHEAD_INSTANCE"] == one.name
        assert environment["BULKHEAD_ADDRESS"] == one.address
        file = f"sqlite:///{topology.home}/data/ledger.sqlite3"
        assert environment["BULKHEAD_LEDGER_URL"] == (topology.file.stack.ledger_url or file)


def parsed_by_supervisor(conf: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Command and environment of every program, as supervisor understands the file."""
    from supervisor.options import ServerOptions

    options = ServerOptions()
    options.realize(args=["-c", str(conf)])
    return {
        program.name: (program.command, program.environment or {})
        for group in options.process_group_configs
        for program in group.process_configs
    }


def with_settings(*assignments: str) -> str:
    return rendered(load(Path("stack.toml"), assignments))[0]


def test_nginx_conf_stays_when_instances_come_and_go() -> None:
    """So `scale` is no reload: the watchdog tells of instances. nginx's own balancer needs one."""
    assert with_settings() == with_settings("services.api.instances=7")
    assert with_settings() == with_settings("services.api.weights=[1,2,3,4]")
    native = "proxy.balancer=nginx"
    assert with_settings(native) != with_settings(native, "services.api.instances=7")


def test_the_generation_is_of_what_is_in_the_file() -> None:
    def generation(*assignments: str) -> str:
        (conf, *_) = render_nginx(load(Path("stack.toml"), assignments), user=None)
        return generation_of(conf.text)

    assert generation() == generation("services.api.instances=7")
    assert generation() != generation("proxy.queue_timeout_s=4")
    assert generation() != generation("services.api.max_in_flight=3")


def test_every_reason_to_give_a_request_up_has_a_text() -> None:
    texts = with_settings().partition("map $error_kind $error_msg {")[2].partition("default")[0]
    keys = re.findall(r"^ +(\w+) \"", texts, re.MULTILINE)
    assert {key for key in keys if not key.isdigit()} == {*get_args(GaveUp)} - {""}


def test_the_native_balancer_needs_no_module() -> None:
    text = with_settings("proxy.balancer=nginx")
    assert "lua" not in text
    assert "load_module" not in text


def test_modules_are_loaded_from_where_they_are() -> None:
    topology = load(Path("stack.toml"))
    (conf, _) = render_nginx(topology, user=None, modules=Path("/opt/modules"))
    assert "load_module /opt/modules/ndk_http_module.so;" in conf.text
    (conf, _) = render_nginx(topology, user=None, modules=None)
    assert "load_module" not in conf.text
