"""docker-compose.yml, deploy/swarm.yml and deploy/kubernetes agree with stack.toml.

And with one another, and with what the images are made of.
"""

import errno
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from itertools import chain

import pytest
import yaml

from bulkhead.drill.closed_load import USER
from bulkhead.hosts.namespaces import PROXY_TCP
from bulkhead.render.supervisor import WATCH_GRACE_S, stop_s
from bulkhead.topology.model import Topology
from tests.deploy.descriptions import (
    KUBERNETES,
    ROOT,
    SECRETS,
    Host,
    Tree,
    composed,
    documents,
    manifests,
    pods,
)
from tests.support.seccomp import names
from tests.support.unit import settings

COMPOSE, SWARM = "docker-compose.yml", "deploy/swarm.yml"
HOSTS = {(one.where, one.name): one for one in chain(composed(COMPOSE), composed(SWARM), pods())}
PLACES = (COMPOSE, SWARM, "deploy/kubernetes")
ROLES = {"proxy": "proxy", "app": "application"}
OURS = [one for one in HOSTS.values() if one.name in ROLES]  # the database is PostgreSQL's own

# Rows and admin sockets are for drills, which know compose alone.
FOR_DRILLS = {"stack.rows", "stack.admin"}
# What hosts are called in one place and not in the other.
NAMES = re.compile(r"//[a-z]+(?=:)|\"[a-z]+(?=:)|@[a-z]+(?=:)")


def each(hosts: list[Host]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("host", hosts, ids=lambda one: f"{one.where}-{one.name}")


def port(place: str) -> int:
    """Of `HOST:PORT`, whatever is around it."""
    found = re.search(r":(\d+)(/|$)", place)
    assert found, place
    return int(found[1])


def name(place: str) -> str:
    """Of `HOST:PORT`, `http://HOST:PORT` or `postgresql://USER@HOST:PORT/NAME`."""
    return re.sub(r"^.*(//|@)", "", place).partition(":")[0]


def test_all_three_have_the_same_hosts() -> None:
    assert set(HOSTS) == {(where, one) for where in PLACES for one in ("proxy", "app", "database")}
    assert {one.image for one in OURS} == {"bulkhead-host"}
    databases = {one.image for one in HOSTS.values() if one.name == "database"}
    assert databases == {"bulkhead-database"}
    # What deploy/swarm calls the images that it builds: after the targets of the Dockerfile.
    targets = re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {"host", "database"} <= set(targets)
    assert '"bulkhead-$1:' in (ROOT / "deploy" / "swarm").read_text()


def test_each_image_is_built_by_one_service() -> None:
    """Compose v2 makes one for each service that builds it, and keeps the name for the last."""
    (tree,) = documents(ROOT / COMPOSE)
    built = [one["image"] for one in tree["services"].values() if "build" in one]
    assert sorted(built) == ["bulkhead-database", "bulkhead-host"]


def test_locust_finds_no_settings_of_a_user_in_its_containers() -> None:
    """Not in the checkout that is in the image: it looks in its home and working directory."""
    (tree,) = documents(ROOT / COMPOSE)
    for name in ("load-master", "load-worker"):
        one = tree["services"][name]
        assert (one["working_dir"], one["environment"]["HOME"]) == ("/tmp", "/tmp")
        assert "/tmp" in one["tmpfs"], "where nobody has put anything"
        assert not [variable for variable in one["environment"] if variable.startswith("LOCUST_")]


@each(OURS)
def test_its_settings_are_valid_and_for_its_role(host: Host) -> None:
    assert host.topology.hosts.role == ROLES[host.name]
    own = [one for one in host.settings if one.startswith("hosts.name=")]
    assert len(own) == (host.name == "app")


@pytest.mark.parametrize("service", ROLES)
def test_the_settings_are_the_same_everywhere(service: str) -> None:
    def comparable(where: str) -> dict[str, str]:
        pairs = (one.split("=", 1) for one in HOSTS[where, service].settings)
        # In a pod it is a folder of the volume: that itself belongs to root and a group.
        left_out = {*FOR_DRILLS, "stack.home"}
        return {key: NAMES.sub("", text) for key, text in pairs if key not in left_out}

    assert comparable(COMPOSE) == comparable(SWARM) == comparable("deploy/kubernetes")


@each(OURS)
def test_its_home_can_be_written(host: Host) -> None:
    home = host.topology.home
    volume = home.parent if "kubernetes" in host.where else home
    assert str(volume) in host.writable
    assert f"-m 0700 {volume}\n" in (ROOT / "Dockerfile").read_text()


@each(OURS)
def test_it_has_the_secrets_that_it_reads_and_no_other(host: Host) -> None:
    stack, hosts = host.topology.file.stack, host.topology.hosts
    read = {stack.ledger_password_file, stack.session_key_file, hosts.key_file} - {""}
    assert {f"{SECRETS}/{one}" for one in host.secrets} == read


@pytest.mark.parametrize("where", PLACES)
def test_the_hosts_find_each_other(where: str) -> None:
    proxy, app = HOSTS[where, "proxy"].topology, HOSTS[where, "app"].topology
    (tell,) = app.hosts.tell
    assert port(tell) == port(proxy.hosts.hear)
    assert port(app.url) == port(proxy.proxy.listen)
    ledger = app.file.stack.ledger_url
    named = {name(tell), name(app.url), name(ledger)}
    assert named <= HOSTS[where, "app"].neighbours
    # From elsewhere: a host that listened on loopback would announce an address that leads nowhere.
    assert {one.host for one in app.services.values()} == {"0.0.0.0"}


@pytest.mark.parametrize("where", PLACES)
def test_the_ledger_is_the_one_that_the_database_makes(where: str) -> None:
    made = (ROOT / "deploy" / "database").read_text()
    found = re.fullmatch(
        r"postgresql://(\w+)@\w+:5432/(\w+)", HOSTS[where, "app"].topology.file.stack.ledger_url
    )
    assert found
    assert f"--username={found[1]} " in made
    assert f"CREATE DATABASE {found[2]};" in made
    assert f"{SECRETS}/ledger_password" in made
    assert HOSTS[where, "database"].secrets == {"ledger_password"}


def stopping_s(topology: Topology) -> float:
    """How long supervisord may take for SIGTERM: it stops one program after the other."""
    graces = [topology.services[one.service].grace_s for one in topology.instances()]
    graces += [topology.proxy.grace_s] * topology.has_proxy
    return sum(map(stop_s, graces)) + stop_s(WATCH_GRACE_S)


@each(OURS)
def test_nobody_is_killed_while_it_drains(host: Host) -> None:
    topology = host.topology
    assert stopping_s(topology) < host.stop_s


@each(OURS)
def test_an_instance_that_keeps_crashing_replaces_no_host(host: Host) -> None:
    """Who has one check asks deploy/health; Kubernetes has one for each question."""
    kubernetes = host.where == "deploy/kubernetes"
    assert host.health == ("bulkhead status --live" if kubernetes else "CMD deploy/health")


@pytest.mark.parametrize("file", [COMPOSE, SWARM])
def test_a_proxys_kernel_gives_up_as_soon_as_in_the_drills(file: str) -> None:
    (tree,) = documents(ROOT / file)
    wanted = {f"net.ipv4.{name}": value for name, value in PROXY_TCP.items()}
    assert tree["services"]["proxy"]["sysctls"] == wanted


@pytest.mark.parametrize("file", [COMPOSE, SWARM])
def test_the_port_that_is_published_is_the_proxys(file: str) -> None:
    (tree,) = documents(ROOT / file)
    (published,) = tree["services"]["proxy"]["ports"]
    listens = port(HOSTS[file, "proxy"].topology.proxy.listen)
    if file == COMPOSE:
        assert published == f"127.0.0.1:${{BULKHEAD_PORT:-8080}}:{listens}"
    else:
        assert published["target"] == listens
        assert published["mode"] == "host"
    assert not any("ports" in tree["services"][one] for one in ("app", "database"))


def test_the_users_have_the_numbers_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    users = re.findall(r"useradd --system --uid (\d+)", dockerfile)
    assert len(users) == 2
    ours, postgres = users
    assert ours == str(USER)
    (tree,) = documents(ROOT / SWARM)
    for service in ROLES:
        assert {one["uid"] for one in tree["services"][service]["secrets"]} == {ours}
    for one in workloads():
        spec, database = one["spec"]["template"]["spec"], one["metadata"]["name"] == "database"
        assert spec["securityContext"]["runAsUser"] == int(postgres if database else ours)


def workloads() -> Iterator[Tree]:
    """The Deployments and the StatefulSet of deploy/kubernetes."""
    for path in manifests():
        yield from (one for one in documents(path) if "template" in one.get("spec", {}))


def open_ports(rules: list[Tree]) -> set[tuple[str, int]]:
    """What rules of a NetworkPolicy let through."""
    found = chain.from_iterable(rule["ports"] for rule in rules)
    return {
        (one["protocol"], number)
        for one in found
        for number in range(one["port"], one.get("endPort", one["port"]) + 1)
    }


def test_the_policies_open_the_ports_that_are_used() -> None:
    policies = {
        one["metadata"]["name"]: one["spec"] for one in documents(KUBERNETES / "network.yaml")
    }
    proxy = HOSTS["deploy/kubernetes", "proxy"].topology
    app = HOSTS["deploy/kubernetes", "app"].topology
    instances = {("TCP", one.port) for one in app.instances()}
    public, hears = ("TCP", port(proxy.proxy.listen)), ("UDP", port(proxy.hosts.hear))
    ledger = ("TCP", port(app.file.stack.ledger_url))
    names = {("UDP", 53), ("TCP", 53)}
    assert "ingress" not in policies["nobody"]
    assert "egress" not in policies["nobody"]
    assert open_ports(policies["proxy"]["ingress"]) == {public, hears}
    assert open_ports(policies["proxy"]["egress"]) == instances
    assert open_ports(policies["app"]["ingress"]) == instances
    assert open_ports(policies["app"]["egress"]) == {public, hears, ledger} | names
    assert open_ports(policies["database"]["ingress"]) == {ledger}


def test_the_services_lead_to_the_ports_that_are_listened_at() -> None:
    proxy = HOSTS["deploy/kubernetes", "proxy"].topology
    app = HOSTS["deploy/kubernetes", "app"].topology
    listened = {
        ("http", port(proxy.proxy.listen), "TCP"),
        ("announcements", port(proxy.hosts.hear), "UDP"),
        ("postgresql", port(app.file.stack.ledger_url), "TCP"),
    }
    containers = [one["spec"]["template"]["spec"]["containers"][0] for one in workloads()]
    named = [one for container in containers for one in container.get("ports", [])]
    assert {(one["name"], one["containerPort"], one["protocol"]) for one in named} == listened
    trees = chain.from_iterable(map(documents, manifests()))
    offered = [one for tree in trees if tree["kind"] == "Service" for one in tree["spec"]["ports"]]
    assert {(one["targetPort"], one["port"], one["protocol"]) for one in offered} == listened


def test_no_password_is_in_any_of_them() -> None:
    for path in (ROOT / COMPOSE, ROOT / SWARM, *KUBERNETES.glob("*.yaml")):
        for tree in yaml.safe_load_all(path.read_text()):
            assert tree.get("kind") != "Secret"
            assert not re.search(r"[0-9a-f]{32}", yaml.safe_dump(tree)), path


def test_the_filter_of_the_containers_is_no_wider_than_the_units() -> None:
    """deploy/seccomp.json is made of systemd's sets; a later systemd may know more calls."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine, which knows the sets of system calls")
    unit = settings((ROOT / "deploy" / "systemd" / "bulkhead.service").read_text())
    profile = json.loads((ROOT / "deploy" / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    refused = [one for one in profile["syscalls"] if one["action"] != "SCMP_ACT_ALLOW"]
    assert [(one["names"], one["errnoRet"]) for one in refused] == [(["clone3"], errno.ENOSYS)]
    rules = [one for one in profile["syscalls"] if one not in refused]
    allowed = {name for one in rules for name in one["names"]}
    assert allowed <= names(unit["SystemCallFilter"].split())
    assert "pidfd_getfd" in allowed
    assert not allowed & {"unshare", "setns", "clone3", "keyctl", "ptrace", "mount", "bpf"}


def test_compose_has_the_filter_for_every_host() -> None:
    (tree,) = documents(ROOT / COMPOSE)
    for name, one in tree["services"].items():
        options = {"no-new-privileges:true"}
        if name != "database":  # nobody there takes anything over
            options.add("seccomp:deploy/seccomp.json")
        assert set(one["security_opt"]) == options, name


def memory_mb(text: str) -> int:
    """Of 512m, 1G, 1Gi: all three are powers of two."""
    found = re.fullmatch(r"(\d+)([MGmg])i?", text)
    assert found, text
    return int(found[1]) * (1024 if found[2] in "Gg" else 1)


@pytest.mark.parametrize("name", ["proxy", "app", "database"])
def test_a_host_may_have_as_much_memory_everywhere(name: str) -> None:
    (compose,), (swarm,) = documents(ROOT / COMPOSE), documents(ROOT / SWARM)
    (pod,) = [one for one in workloads() if one["metadata"]["name"] == name]
    limits = pod["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    found = {
        memory_mb(compose["services"][name]["mem_limit"]),
        memory_mb(swarm["services"][name]["deploy"]["resources"]["limits"]["memory"]),
        memory_mb(limits["memory"]),
    }
    assert len(found) == 1


def test_what_is_printed_is_bounded_everywhere() -> None:
    """A kubelet rotates by itself."""
    for file in (COMPOSE, SWARM):
        (tree,) = documents(ROOT / file)
        for name, one in tree["services"].items():
            assert one["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
            assert file == SWARM or one["pids_limit"] == 512, name


def test_a_host_is_made_of_the_locked_packages_and_no_others() -> None:
    """requirements.host.lock is a part of requirements.lock: what no host needs is left out."""
    start = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
    all_of_it, host = (
        set(start.split((ROOT / name).read_text())[1:])
        for name in ("requirements.lock", "requirements.host.lock")
    )
    assert host < all_of_it
    names = {re.split(r"[=\[ ]", one)[0] for one in host}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[ ><=]", one)[0].replace("_", "-") for one in project["dependencies"]}
    tools = {re.split(r"[\[ ><=]", one)[0] for one in project["optional-dependencies"]["dev"]}
    assert needed <= names
    assert not names & (tools - {"pytest"}), "Locust needs pytest"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "-r /reach/requirements.host.lock" in dockerfile
