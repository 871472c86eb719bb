"""docker-compose.yml, deploy/swarm.yml and deploy/kubernetes agree with stack.toml.

And with one another, and with what the images are made of.
"""

import re
from collections.abc import Iterator
from itertools import chain

import pytest
import yaml

from bulkhead.drill.load_hosts import USER
from bulkhead.hosts import tcp
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


@each(OURS)
def test_its_settings_are_valid_and_for_its_role(host: Host) -> None:
    assert host.topology.hosts.role == ROLES[host.name]
    # `status` must find the same topology: what the command is told, the health check is told.
    own = [one for one in host.settings if one.startswith("hosts.name=")]
    assert len(own) == (host.name == "app")
    if "hostname" in host.health:
        assert "--set hosts.name=$$(hostname)" in host.health


@pytest.mark.parametrize("service", ROLES)
def test_the_settings_are_the_same_everywhere(service: str) -> None:
    def comparable(where: str) -> dict[str, str]:
        pairs = (one.split("=", 1) for one in HOSTS[where, service].settings)
        return {key: NAMES.sub("", text) for key, text in pairs if key not in FOR_DRILLS}

    assert comparable(COMPOSE) == comparable(SWARM) == comparable("deploy/kubernetes")


@each(OURS)
def test_its_home_can_be_written(host: Host) -> None:
    home = str(host.topology.home)
    assert home in host.writable
    assert f"-m 0700 {home}" in (ROOT / "Dockerfile").read_text()


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


@pytest.mark.parametrize("file", [COMPOSE, SWARM])
def test_a_proxys_kernel_gives_up_as_soon_as_in_the_drills(file: str) -> None:
    (tree,) = documents(ROOT / file)
    wanted = {f"net.ipv4.{name}": value for name, value in tcp.PROXY.items()}
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
