"""deploy/kubernetes against the schemas of the API itself; no cluster is needed, and none is asked.

An unknown or misspelt field is refused as a wrong type is. What only a cluster knows, such as
whether a selector finds a pod, is tested here by hand or not at all.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from kubernetes_validate import ValidationError, latest_version, validate
from kubernetes_validate.utils import major_minor

from tests.deploy.descriptions import KUBERNETES, Tree, documents, manifests

# The oldest of which matchLabelKeys and endPort are in use without a feature gate, and the newest
# that the validator knows.
VERSIONS = ("1.27", major_minor(latest_version()))
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
