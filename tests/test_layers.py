"""Imports go one way. Reads the imports of every module and compares them with the rule."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

# Lowest first: a module imports from lower layers, or from its own package.
LAYERS = [
    {"errors", "clock", "atomic", "interrupts"},
    {"proc"},
    {"http_probe"},
    {"supervisor_rpc", "peer_table"},
    {"records", "rundir"},
    {"topology", "accounting", "judge"},
    {"render", "report"},
    {"supervise"},
    {"operate"},
    {"watchdog"},
    {"adopt"},
    {"hosts"},
    {"faults"},
    {"drill", "dashboard"},
    {"verbs"},
    {"cli"},
    {"testing"},  # for tests and the bench
]
# report shows what supervise found: it may read the shape of a status, never act.
ALLOWED = {("report.status", "bulkhead.supervise.status")}

# The watchdog imports these, so they need no package that takes long to import or much memory.
LEAN = ("errors", "clock", "atomic", "proc", "http_probe", "supervisor_rpc", "peer_table")

# The same for the services; the longest prefix counts.
SERVICES = {
    "services.common": 0,
    "services.api.errors": 1,
    "services.api.ledger": 2,
    "services.api.service": 3,
    "services.api.http": 4,
    "services.api.app": 5,
    "services.api.__main__": 6,
    "services.web": 1,
}

PURE = ("topology", "render", "accounting", "judge")
IMPURE = {"socket", "subprocess", "time", "http", "urllib", "signal", "asyncio", "threading"}


def modules(package: str) -> list[Path]:
    return sorted(Path(package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at whatever depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", modules("bulkhead"), ids=str)
def test_bulkhead_imports_only_what_is_below(path: Path) -> None:
    inside = path.relative_to("bulkhead").with_suffix("")
    part = inside.parts[0]
    if part == "__init__":
        assert list(imports(path)) == []
        return
    for name in imports(path):
        top, *rest = name.split(".")
        assert top not in {"locust", "gevent", "services", "loadtest"}, f"{path} imports {name}"
        if top != "bulkhead" or rest[0] == "__version__" or rest[0] == part:
            continue
        named = ".".join(inside.parts)
        if any(named == who and name.startswith(what) for who, what in ALLOWED):
            continue
        assert level(rest[0]) < level(part), f"{path} ({part}) imports {name}"


@pytest.mark.parametrize(
    "path", [path for part in PURE for path in modules(f"bulkhead/{part}")], ids=str
)
def test_pure_packages_reach_for_nothing_outside(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & IMPURE == set()


@pytest.mark.parametrize("name", LEAN)
def test_what_the_watchdog_shares_needs_the_standard_library_alone(name: str) -> None:
    for imported in imports(Path(f"bulkhead/{name}.py")):
        top, *rest = imported.split(".")
        assert top in sys.stdlib_module_names or (top == "bulkhead" and rest[0] in LEAN), imported


@pytest.mark.parametrize("path", modules("services"), ids=str)
def test_services_share_no_code_with_what_measures_them(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & {"bulkhead", "loadtest"} == set()


def service_layer(name: str) -> tuple[int, str]:
    prefix = max((each for each in SERVICES if f"{name}.".startswith(f"{each}.")), key=len)
    return SERVICES[prefix], prefix


@pytest.mark.parametrize(
    "path", [path for path in modules("services") if path.name != "__init__.py"], ids=str
)
def test_services_import_only_what_is_below(path: Path) -> None:
    layer, package = service_layer(dotted(path))
    for name in imports(path):
        if name.startswith("services."):
            used, other = service_layer(name)
            assert used < layer or other == package, f"{path} imports {name}"


def test_services_import_each_other_in_no_circle() -> None:
    """Imports inside functions and for types alone count, too."""
    paths = {dotted(path): path for path in modules("services")}
    graph = {name: {resolved(used, paths) for used in imports(paths[name])} for name in paths}
    TopologicalSorter({name: used - {""} for name, used in graph.items()}).prepare()


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def resolved(name: str, paths: dict[str, Path]) -> str:
    """The module that an import reaches, whether it names that or something in it."""
    return next((each for each in (name, name.rpartition(".")[0]) if each in paths), "")


@pytest.mark.parametrize("path", modules("loadtest"), ids=str)
def test_the_load_shares_only_the_rows(path: Path) -> None:
    used = {name for name in imports(path) if name.split(".")[0] in {"bulkhead", "services"}}
    assert all(name.startswith("bulkhead.records") for name in used), used


def test_the_rule_is_checked_against_something() -> None:
    """A rule over no files would pass for ever."""
    assert len(modules("bulkhead")) > 20
    assert "bulkhead.errors.ConfigError" in imports(Path("bulkhead/topology/parse.py"))
