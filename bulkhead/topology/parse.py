"""stack.toml -> Topology: read, override, validate each field, then check the whole.

Every problem of a step is reported at once, each as `stack.toml: path = value: what is allowed`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bulkhead.errors import ConfigError
from bulkhead.topology import problems
from bulkhead.topology.checks import CHECKS, places_are_usable
from bulkhead.topology.model import HomeFile, Topology, TopologyFile

Tree = dict[str, object]

DEEPEST = 8  # keys of an assignment; there are no deeper settings
# Of a number of thousands of digits, or of a thousand brackets, tomllib says so in other ways.
NOT_TOML = (tomllib.TOMLDecodeError, ValueError, RecursionError)


def load(path: Path, assignments: Sequence[str] = ()) -> Topology:
    """The topology in `path` with `key=value` assignments laid over it, later ones winning.

    Paths in the file are relative to the file's folder, which is the checkout's root.
    ConfigError with one line per problem.
    """
    return parse(read(path, assignments), path)


def read(path: Path, assignments: Sequence[str] = ()) -> Tree:
    """The file as plain values, with the assignments laid over it."""
    try:
        tree = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except NOT_TOML as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    for assignment in assignments:
        assign(tree, assignment)
    return tree


def assign(tree: Tree, assignment: str) -> None:
    """Lay one `services.api.instances=8` over the tree. A value that is not TOML is a string."""
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise ConfigError(
            f"--set {assignment}: must be key=value with dots between tables, "
            "such as services.api.instances=8"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except NOT_TOML:
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
    problems.refuse(path.name, [problem for check in CHECKS for problem in check(topology)])
    return topology


def resolve(tree: Mapping[str, object], path: Path) -> Topology:
    """A tree with every field checked by itself: enough for one that is in force already."""
    file = problems.validated(TopologyFile, tree, path.name)
    root = path.resolve().parent
    home = (root / file.stack.home).resolve()
    return Topology(file, file.proxy, file.hosts, file.services, root, home, path.name)


def home_of(path: Path, assignments: Sequence[str] = ()) -> Path:
    """Only where the stack lives, whatever else may be wrong in the file by now.

    ConfigError if what is said about that will not do.
    """
    section = read(path, assignments).get("stack")
    given = {"home": section["home"]} if isinstance(section, dict) and "home" in section else {}
    root = path.resolve().parent
    home = (root / problems.validated(HomeFile, {"stack": given}, path.name).stack.home).resolve()
    problems.refuse(path.name, list(places_are_usable(home, root)))
    return home
