"""deploy/kubernetes against the schemas of the API itself; no cluster is needed, and none is asked.

An unknown or misspelt field is refused as a wrong type is. What only a cluster knows, such as
whether a selector finds a pod, is tested here by hand or not at all.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, latest_version, validate
from kubernetes_validate.utils import major_minor

from bulkhead.hosts.namespaces import PROXY_TCP
from tests.deploy.descriptions import KUBERNETES, ROOT, Tree, documents, manifests

# The oldest of which the settings of TCP are safe ones (matchLabelKeys and endPort are in use
# without a feature gate before), and the newest that the validator knows.
VERSIONS = ("1.29", major_minor(latest_version()))
OBJECTS = [
    pytest.param(path, tree, id=f"{path.stem}-{tree['kind']}-{tree['metadata']['name']}")
    for path in manifests()
    for tree in documents(path)
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("path", "tree"), OBJECTS)
def test_every_object_fits_its_schema(path: Path, tree: Tree, version: str) -> None:
    assert validate(tree, version, strict=True) == version, path


def found(kind: str, name: str) -> Tree:
    """One object, to be spoilt."""
    trees = [one for path in manifests() for one in documents(path)]
    (one,) = [tree for tree in trees if (tree["kind"], tree["metadata"]["name"]) == (kind, name)]
    return deepcopy(one)


def pod(tree: Tree) -> Tree:
    spec: Tree = tree["spec"]["template"]["spec"]
    return spec


def container(tree: Tree) -> Tree:
    one: Tree = pod(tree)["containers"][0]
    return one


MISTAKES: dict[str, Callable[[Tree], object]] = {
    "a field with a typing error": lambda one: pod(one).update(terminationGracePeriodSecond=100),
    "a field at the wrong place": lambda one: pod(one).update(readOnlyRootFilesystem=True),
    "a number as text": lambda one: one["spec"].update(replicas="2"),
    "a list as one": lambda one: container(one).update(command="bulkhead serve"),
    "a missing field": lambda one: one["spec"].pop("selector"),
    "a probe of nothing known": lambda one: container(one)["livenessProbe"].update(shell="status"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    """The tests above can fail."""
    tree = found("Deployment", "app")
    MISTAKES[mistake](tree)
    with pytest.raises(ValidationError):
        validate(tree, VERSIONS[-1], strict=True)


def test_kustomize_is_given_every_file() -> None:
    (tree,) = documents(KUBERNETES / "kustomization.yaml")
    assert sorted(tree["resources"]) == [path.name for path in manifests()]
    named = {one["name"] for one in tree["images"]}
    assert named == {container(found("Deployment", "app"))["image"], "bulkhead-database"}
    assert found("Namespace", tree["namespace"])


@pytest.mark.parametrize("service", ["app", "proxy"])
def test_what_selects_pods_selects_these(service: str) -> None:
    deployment = found("Deployment", service)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    spread = pod(deployment)["topologySpreadConstraints"][0]["labelSelector"]
    chosen = [deployment["spec"]["selector"]["matchLabels"], spread["matchLabels"]]
    chosen.append(found("PodDisruptionBudget", service)["spec"]["selector"]["matchLabels"])
    chosen.append(found("NetworkPolicy", service)["spec"]["podSelector"]["matchLabels"])
    if service == "proxy":
        chosen += [found("Service", one)["spec"]["selector"] for one in ("proxy", "proxies")]
    for one in chosen:
        assert one.items() <= labels


@pytest.mark.parametrize(
    ("kind", "name"), [("Deployment", "app"), ("Deployment", "proxy"), ("StatefulSet", "database")]
)
def test_every_pod_may_do_as_little_as_it_can(kind: str, name: str) -> None:
    tree = found(kind, name)
    spec, own = pod(tree)["securityContext"], container(tree)["securityContext"]
    assert spec["runAsNonRoot"]
    assert spec["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(tree)["automountServiceAccountToken"] is False
    assert own["readOnlyRootFilesystem"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}


def test_an_update_takes_no_host_away_before_another_is_there() -> None:
    for service in ("app", "proxy"):
        update = found("Deployment", service)["spec"]["strategy"]["rollingUpdate"]
        assert update == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("service", ["app", "proxy"])
def test_each_probe_asks_its_own_question(service: str) -> None:
    """A pod is replaced for supervisord and the watchdog alone, never for an instance."""
    one = container(found("Deployment", service))
    for name, option in (("startup", "--live"), ("liveness", "--live"), ("readiness", "--serving")):
        assert one[f"{name}Probe"]["exec"]["command"] == ["bulkhead", "status", option]


def component(name: str) -> Iterator[tuple[Tree, Tree]]:
    """What a component makes of each object that it changes, and the object as it was."""
    (tree,) = documents(KUBERNETES / "components" / name / "kustomization.yaml")
    assert (tree["kind"], tree["apiVersion"]) == ("Component", "kustomize.config.k8s.io/v1alpha1")
    for patch in tree["patches"]:
        target = patch["target"]
        trees = [one for path in manifests() for one in documents(path)]
        chosen = [one for one in trees if one["kind"] == target["kind"]]
        for one in chosen:
            if one["metadata"]["name"] == target.get("name", one["metadata"]["name"]):
                yield patched(deepcopy(one), yaml.safe_load(patch["patch"])), one


def patched(tree: Tree, operations: list[Tree]) -> Tree:
    """A JSON patch (RFC 6902), as far as these files have them."""
    for one in operations:
        *way, last = one["path"].strip("/").split("/")
        place: Any = tree
        for step in way:
            place = place[step]
        if last == "-":
            assert one["op"] == "add"
            place.append(one["value"])
        else:
            assert (one["op"], last in place) == ("replace", True)
            place[last] = one["value"]
    return tree


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["seccomp", "tcp"])
def test_what_a_component_makes_fits_the_schema(name: str, version: str) -> None:
    for tree, before in component(name):
        assert tree != before
        assert validate(tree, version, strict=True) == version


def test_with_its_component_a_proxy_gives_up_as_soon_as_in_the_drills() -> None:
    wanted = {f"net.ipv4.{name}": str(value) for name, value in PROXY_TCP.items()}
    ((tree, before),) = component("tcp")

    def sysctls(one: Tree) -> dict[str, str]:
        return {each["name"]: each["value"] for each in pod(one)["securityContext"]["sysctls"]}

    assert sysctls(tree) == wanted
    assert wanted.keys() - sysctls(before) == {"net.ipv4.tcp_retries2"}, "the unsafe one"


def test_the_profile_of_the_component_is_the_one_of_compose() -> None:
    made = [tree for tree, _ in component("seccomp")]
    assert {one["metadata"]["name"] for one in made} == {"app", "proxy"}
    profiles = [pod(one)["securityContext"]["seccompProfile"] for one in made]
    (profile,) = {one["localhostProfile"] for one in profiles}
    text = (KUBERNETES / "components" / "seccomp" / "kustomization.yaml").read_text()
    assert f"deploy/seccomp.json as /var/lib/kubelet/seccomp/{profile}" in text
    assert (ROOT / "deploy" / "seccomp.json").exists()
