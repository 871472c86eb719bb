"""stack.toml -> Topology: read, override, validate each field, then check the whole.

Every problem of a step is reported at once, each as `stack.toml: path = value: what is allowed`.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bulkhead.errors import ConfigError
from bulkhead.topology.checks import CHECKS, Problem
from bulkhead.topology.model import (
    ProxySection,
    Section,
    ServiceSection,
    StackSection,
    Topology,
    TopologyFile,
)

Tree = dict[str, object]


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
    problems = [problem for check in CHECKS for problem in check(topology)]
    if problems:
        raise ConfigError(*_lines(path.name, problems))
    return topology


def resolve(tree: Mapping[str, object], path: Path) -> Topology:
    """A tree with every field checked by itself: enough for one that is in force already."""
    try:
        file = TopologyFile.model_validate(tree)
    except ValidationError as error:
        problems = [_describe(details) for details in error.errors(include_url=False)]
        raise ConfigError(*_lines(path.name, problems)) from None
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


def _lines(source: str, problems: Sequence[Problem]) -> list[str]:
    return [
        f"{source}: {path}: {allowed}"
        if value is None
        else f"{source}: {path} = {json.dumps(value, default=str)}: {allowed}"
        for path, value, allowed in problems
    ]


# What pydantic calls a problem -> what a user has to do. {ctx} keys are pydantic's own.
_WORDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string in quotes",
    "list_type": "must be a list, such as [...]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_PATTERNS = {
    "name": "must be 1 to 20 lower-case letters and digits, a letter first",
    "services": "must be 1 to 20 lower-case letters and digits, a letter first",
    "program": "must be the name or the path of a program",
    "listen": 'must be an address and a port, such as "127.0.0.1:8080"',
    "host": 'must be a loopback address, such as "127.0.0.1"',
    "routes": 'must begin and end with "/", such as "/api/", and hold no spaces or patterns',
    "hash_key": "must be text and nginx variables, such as $request_uri, with no spaces or braces",
    "app": 'must be a module, or module:object, such as "services.web.wsgi:app"',
    "env": "a name is capital letters, digits and underscores; a value has no quotes, ; or #",
}
_SECTIONS: dict[str, type[Section]] = {
    "stack": StackSection,
    "proxy": ProxySection,
    "services": ServiceSection,
}


def _describe(details: ErrorDetails) -> Problem:
    """One of pydantic's findings in this project's words."""
    where = [part for part in details["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in where)
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return path, value, _unknown_key(where)
    if kind == "missing":
        return path, None, "is missing"
    if kind == "string_pattern_mismatch":
        names = [str(part) for part in where if isinstance(part, str)]
        field = next((name for name in reversed(names) if name in _PATTERNS), "")
        return path, value, _PATTERNS.get(field, details["msg"])
    words = _WORDS.get(kind)
    return path, value, words.format(**details.get("ctx", {})) if words else details["msg"]


def _unknown_key(where: Sequence[object]) -> str:
    section = _SECTIONS.get(str(where[0])) if len(where) > 1 else TopologyFile
    known = list(section.model_fields) if section else []
    near = difflib.get_close_matches(str(where[-1]), known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key{hint} (known: {', '.join(known)})"
