"""stack.toml -> Topology: read, override, validate each field, then check the whole.

Every problem of a step is reported at once, each as `stack.toml: path = value: what is allowed`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from bulkhead.errors import ConfigError
from bulkhead.topology import problems
from bulkhead.topology.checks import CHECKS
from bulkhead.topology.model import (
    HostsSection,
    ProxySection,
    Section,
    ServiceSection,
    StackSection,
    Topology,
    TopologyFile,
)

Tree = dict[str, object]

SECTIONS: dict[str, type[Section]] = {
    "stack": StackSection,
    "proxy": ProxySection,
    "hosts": HostsSection,
    "services": ServiceSection,
}


def load(path: Path, assignments: Sequence[str] = ()) -> Topology:
    """The topology in `path` with `key=value` assignments laid over it, later ones winning.

    Paths in the file are relative to the file's folder, which is the checkout's root.

    Raises:
        ConfigError: with one line per problem.
    """
    tree = read(path)
    for assignment in assignments:
        assign(tree, assignment)
    return parse(tree, path)


def read(path: Path) -> Tree:
    """The file as plain values."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def assign(tree: Tree, assignment: str) -> None:
    """Lay one `services.api.instances=8` over the tree. A value that is not TOML is a string."""
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set {assignment}: must be key=value with dots between tables, "
            "such as services.api.instances=8"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table: object = tree
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            raise ConfigError(f"--set {assignment}: {'.'.join(keys[:depth])} is not a table")
    assert isinstance(table, dict)
    table[keys[-1]] = value


def parse(tree: Mapping[str, object], path: Path) -> Topology:
    """Validate a tree that came from `path`, field by field and as a whole."""
    topology = resolve(tree, path)
    found = [problem for check in CHECKS for problem in check(topology)]
    if found:
        raise ConfigError(*problems.lines(path.name, found))
    return topology


def resolve(tree: Mapping[str, object], path: Path) -> Topology:
    """A tree with every field checked by itself: enough for one that is in force already."""
    try:
        file = TopologyFile.model_validate(tree)
    except ValidationError as error:
        found = problems.found(error, TopologyFile, SECTIONS)
        raise ConfigError(*problems.lines(path.name, found)) from None
    root = path.resolve().parent
    return Topology(file, root, (root / file.stack.home).resolve(), path.name)


def home_of(path: Path, assignments: Sequence[str] = ()) -> Path:
    """Only where the stack lives, whatever else may be wrong in the file by now."""
    tree = read(path)
    for assignment in assignments:
        assign(tree, assignment)
    section = tree.get("stack")
    home = section.get("home") if isinstance(section, dict) else None
    default = StackSection().home
    return (path.resolve().parent / (home if isinstance(home, str) else default)).resolve()
