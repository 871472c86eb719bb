"""What pydantic finds wrong with a TOML file, in this project's words: one line a problem."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# Path, value (None when there is none to show) and what is allowed.
Problem = tuple[str, object, str]

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
    "host": 'must be an IPv4 address, such as "127.0.0.1"',
    "hosts.name": "must be 1 to 32 lower-case letters, digits and hyphens",
    "hear": 'must be an IPv4 address and a port, such as "10.0.0.2:8070"',
    "tell": 'must be a name or an address and a port, such as "proxy:8070"',
    "url": 'must be http://HOST:PORT, such as "http://proxy:8080"',
    "ledger_url": "must be postgresql://USER@HOST:PORT/NAME or mariadb://USER@HOST:PORT/NAME, with "
    "the password in the file of stack.ledger_password_file",
    "routes": 'must begin and end with "/", such as "/api/", and hold no spaces or patterns',
    "hash_key": "must be text and nginx variables, such as $request_uri, with no spaces or braces",
    "app": 'must be a module, or module:object, such as "services.web.wsgi:app"',
    "env": "a name is capital letters, digits and underscores; a value has no quotes, ; or #",
}
# What may be a password in a URL: not for a terminal, not for a log.
_SECRET = re.compile(r"(?<=://).*(?=@)|(?<=\?).*")


def found(
    error: ValidationError, root: type[BaseModel], sections: Mapping[str, type[BaseModel]]
) -> list[Problem]:
    """Every problem of a file of the shape `root`, whose tables have the shapes `sections`."""
    return [_describe(one, root, sections) for one in error.errors(include_url=False)]


def lines(source: str, problems: Sequence[Problem]) -> list[str]:
    """`stack.toml: services.api.instances = 0: must be at least 1`."""
    return [
        f"{source}: {path}: {allowed}"
        if value is None
        else f"{source}: {path} = {json.dumps(value, default=str)}: {allowed}"
        for path, value, allowed in problems
    ]


def near(word: str, known: Sequence[str]) -> str:
    """What an unknown word may have been meant to be, and which words there are."""
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{hint} (known: {', '.join(known)})"


def _describe(
    details: ErrorDetails, root: type[BaseModel], sections: Mapping[str, type[BaseModel]]
) -> Problem:
    where = [part for part in details["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in where)
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        section = sections.get(str(where[0])) if len(where) > 1 else root
        return (
            path,
            value,
            "unknown key" + near(str(where[-1]), list(section.model_fields) if section else []),
        )
    if kind == "missing":
        return path, None, "is missing"
    if kind == "string_pattern_mismatch":
        names = [str(part) for part in where if isinstance(part, str)]
        fields = [path, *reversed(names)]
        field = next((name for name in fields if name in _PATTERNS), "")
        return path, _SECRET.sub("***", str(value)), _PATTERNS.get(field, details["msg"])
    words = _WORDS.get(kind)
    return path, value, words.format(**details.get("ctx", {})) if words else details["msg"]
