"""Problems that pydantic finds in a TOML file, in this project's words: one line each."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bulkhead.errors import ConfigError

# Path, value (None when there is none to show) and what is allowed.
Problem = tuple[str, object, str]

# pydantic's name of a problem -> advice for the user. {ctx} keys are pydantic's own.
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
    "string_unicode": "must be text in UTF-8",
    "too_short": "must not be empty",
}
_LINE = "must not hold characters that cannot be printed"
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
    **dict.fromkeys(("home", "static", "title", "locustfile"), _LINE),
    **dict.fromkeys(("ledger_password_file", "session_key_file", "key_file"), _LINE),
    "env": "a name is capital letters, digits and underscores; a value has no quotes, ; or # and "
    "no control characters",
}
# Old names of settings of a topology or a drill -> new ones.
RENAMED = {
    "proxy.hold_s": "proxy.queue_timeout_s",
    "proxy.hold_max": "proxy.queue_max",
    "proxy.queue_s": "proxy.queue_busy_timeout_s",
    "faults.hold_s": "faults.duration_s",
    "expect.failed_repeatable": "expect.failed_retryable",
    "expect.failed_once": "expect.failed_non_retryable",
    "expect.failed_once_min": "expect.failed_non_retryable_min",
    "expect.moved_on": "expect.retried",
    "expect.moved_on_min": "expect.retried_min",
    "expect.held_requests_min": "expect.queued_min",
}
# A password in a URL must not reach a terminal or a log.
_SECRET = re.compile(r"(?<=://).*(?=@)|(?<=\?).*")


Shape = TypeVar("Shape", bound=BaseModel)


def validated(shape: type[Shape], tree: Mapping[str, object], source: str) -> Shape:
    """The content of a file, as a value; ConfigError with one line per problem."""
    try:
        return shape.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*lines(source, found(error, shape))) from None


def refuse(source: str, problems: Sequence[Problem]) -> None:
    """Raises ConfigError, with one line per problem, if there are any."""
    if problems:
        raise ConfigError(*lines(source, problems))


def found(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Every problem of a file of the shape `root`."""
    return [_describe(one, root) for one in error.errors(include_url=False)]


def lines(source: str, problems: Sequence[Problem]) -> list[str]:
    """`stack.toml: services.api.instances = 0: must be at least 1`."""
    return [
        f"{source}: {path}: {allowed}"
        if value is None
        else f"{source}: {path} = {json.dumps(value, default=str)}: {allowed}"
        for path, value, allowed in problems
    ]


def near(word: str, known: Sequence[str]) -> str:
    """A hint at the word that was meant, and the known words."""
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{hint} (known: {', '.join(known)})"


def _known(root: type[BaseModel], table: object) -> list[str]:
    """The keys of a table, or of each table in it, if they are known."""
    shape = root.model_fields[str(table)].annotation
    shapes = (one for one in (shape, *get_args(shape)) if hasattr(one, "model_fields"))
    return [key for one in shapes for key in one.model_fields]


def _describe(details: ErrorDetails, root: type[BaseModel]) -> Problem:
    where = [part for part in details["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in where)
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        old = ".".join(part for part in where if isinstance(part, str))
        if old in RENAMED:
            return path, None, f"{old} is called {RENAMED[old]} now"
        known = _known(root, where[0]) if len(where) > 1 else list(root.model_fields)
        return path, value, "unknown key" + near(str(where[-1]), known)
    if kind == "missing":
        return path, None, "is missing"
    if kind == "string_pattern_mismatch":
        names = [str(part) for part in where if isinstance(part, str)]
        fields = [path, *reversed(names)]
        field = next((name for name in fields if name in _PATTERNS), "")
        return path, _SECRET.sub("***", str(value)), _PATTERNS.get(field, details["msg"])
    words = _WORDS.get(kind)
    return path, value, words.format(**details.get("ctx", {})) if words else details["msg"]
