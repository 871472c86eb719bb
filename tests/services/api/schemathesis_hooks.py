"""Loaded by schemathesis itself: adapts cases to what their schema cannot say."""

import itertools
import re
from typing import Any

import schemathesis

# Longer work is valid and would only make the run longer.
WORK = {"ms": (60_000, 5), "cpu_ms": (10_000, 5), "bytes": (16 * 1024 * 1024, 4096)}
KEY = re.compile(r"[A-Za-z0-9._:~+/=@-]{1,255}")
CONDITIONS = ("If-Match", "If-None-Match")
# Conditions on random entries hardly ever hold; most cases must get past them.
CONDITIONS_KEPT = 5

_number = itertools.count(1)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # noqa: ARG001 - the signature is schemathesis' own
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001 - the signature is schemathesis' own
) -> None:
    for name, (limit, enough) in WORK.items():
        value = str(case.query.get(name, ""))
        if case.path == "/api/v1/work" and value.isdigit() and enough < int(value) <= limit:
            case.query[name] = enough
    number = next(_number)
    key = case.headers.get("Idempotency-Key")
    if key and KEY.fullmatch(key):
        # A valid key that was used before is refused; that every case has its own is beyond JSON
        # Schema. Replays are tested in test_idempotency.py.
        case.headers["Idempotency-Key"] = f"{key[:240]}:{number}"
    for name in CONDITIONS:
        # In its coverage phase schemathesis gives headers letters and digits only, and so "0" as
        # a valid value for this pattern, which has quotes.
        if case.headers.get(name) == "0" or number % CONDITIONS_KEPT:
            case.headers.pop(name, None)
