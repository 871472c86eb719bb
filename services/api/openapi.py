"""The OpenAPI document of this API: GET /api/v1/openapi.json.

It is written by hand around the same limits that the code checks; a schemathesis run in the tests
proves that the service does what is said here. The internal endpoints are not in
it: no client can reach them through the proxy.
"""

from functools import lru_cache

import msgspec

from services.api.handlers.fanout import MAX_CALLS
from services.api.handlers.work import MAX_BYTES, MAX_CPU_MS, MAX_MS
from services.api.ledger import CURSOR_PATTERN, DEFAULT_LIMIT, MAX_AMOUNT, MAX_LIMIT
from services.api.openapi_parts import (
    ACCOUNT,
    ENTRY_ID,
    HEADERS,
    PARAMETERS,
    REPLAY,
    RESPONSES,
    SCHEMAS,
    Json,
    answer,
    errors,
    integer,
    operation,
    parameter,
    ref,
    resource,
)

VERSION = "1.0.0"


@lru_cache(maxsize=1)
def document(max_body_bytes: int) -> bytes:
    """The document as JSON; `max_body_bytes` is this instance's limit."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Bulkhead ledger API",
                "version": VERSION,
                "description": "A ledger whose writes are harmless to repeat when they carry an"
                f" Idempotency-Key. Bodies may have {max_body_bytes} bytes. Unknown and repeated"
                " query arguments are refused with 400, other methods with 405 and Allow.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "paths": {
                "/api/v1/whoami": whoami(),
                "/api/v1/work": work(),
                "/api/v1/fanout": fanout(),
                "/api/v1/openapi.json": openapi(),
                "/api/v1/entries": entries(),
                "/api/v1/entries/{id}": entry_by_id(),
            },
            "components": {
                "schemas": SCHEMAS,
                "headers": HEADERS,
                "responses": RESPONSES,
                "parameters": PARAMETERS,
            },
        }
    )


def whoami() -> Json:
    """The path /api/v1/whoami."""
    found = answer("The process that answers.", **ref("schemas", "Whoami"))
    return resource(get=operation("whoami", "Who answers.", responses={"200": found}))


def work() -> Json:
    """The path /api/v1/work."""
    done = answer("The octets.", media="application/octet-stream", type="string", format="binary")
    return resource(
        get=operation(
            "work",
            "Wait, burn CPU, send a body.",
            integer("ms", "Milliseconds to wait without blocking.", 0, MAX_MS, default=0),
            integer("cpu_ms", "Milliseconds of CPU to burn, blocking.", 0, MAX_CPU_MS, default=0),
            integer("bytes", "Octets to answer with.", 0, MAX_BYTES, default=0),
            responses={"200": done, **errors("422")},
        )
    )


def fanout() -> Json:
    """The path /api/v1/fanout."""
    joined = answer("All calls were answered.", **ref("schemas", "Fanout"))
    return resource(
        get=operation(
            "fanout",
            "Call the web service n times at once and join the answers.",
            integer("n", "How many calls.", 1, MAX_CALLS, default=1),
            responses={"200": joined, **errors("422", "502")},
        )
    )


def openapi() -> Json:
    """The path /api/v1/openapi.json."""
    found = answer("This document.", type="object")
    return resource(get=operation("openapi", "This document.", responses={"200": found}))


def entries() -> Json:
    """The path /api/v1/entries."""
    cursor = {"type": "string", "pattern": f"^{CURSOR_PATTERN}$"}
    page = answer("A page.", **ref("schemas", "Page"))
    created = answer("Created.", "ETag", "Location", REPLAY, **ref("schemas", "Entry"))
    created["links"] = _links("$response.body#/id")
    return resource(
        get=operation(
            "list_entries",
            "List entries, newest first.",
            parameter("query", "account", "Only this account.", ACCOUNT),
            integer("min_amount", "Only amounts from here.", -MAX_AMOUNT, MAX_AMOUNT),
            integer("max_amount", "Only amounts up to here.", -MAX_AMOUNT, MAX_AMOUNT),
            integer("limit", "Entries on a page.", 1, MAX_LIMIT, default=DEFAULT_LIMIT),
            parameter("query", "cursor", "next_cursor of the page before, unchanged.", cursor),
            responses={"200": page, **errors("422", "503")},
        ),
        post=operation(
            "add_entry",
            "Add an entry, under a new id unless the body chooses one.",
            "key",
            responses={"201": created, **errors("409", "422", "503", "504")},
            body="NewDraft",
        ),
    )


def entry_by_id() -> Json:
    """The path /api/v1/entries/{id}."""
    entry = ref("schemas", "Entry")
    found = answer("The entry.", "ETag", **entry)
    created = answer("Created.", "ETag", "Location", REPLAY, **entry)
    changed = answer("The entry as it is now.", "ETag", REPLAY, **entry)
    created["links"] = changed["links"] = _links("$request.path.id")
    write = ("key", "if_match", "if_none_match")
    return resource(
        [parameter("path", "id", "The entry's id.", ENTRY_ID)],
        get=operation(
            "get_entry",
            "The entry.",
            "if_match",
            "if_none_match",
            responses={
                "200": found,
                "304": answer("The client's copy is current.", "ETag"),
                **errors("404", "412", "503"),
            },
        ),
        put=operation(
            "put_entry",
            "Create the entry, or replace all of it.",
            *write,
            responses={
                "200": changed,
                "201": created,
                **errors("412", "422", "503", "504"),
            },
            body="Draft",
        ),
        patch=operation(
            "change_entry",
            "Change some members.",
            *write,
            responses={"200": changed, **errors("404", "412", "422", "503", "504")},
            body="Changes",
        ),
        delete=operation(
            "delete_entry",
            "Delete the entry.",
            *write,
            responses={
                "204": answer("Deleted.", REPLAY),
                **errors("404", "412", "422", "503", "504"),
            },
        ),
    )


def _links(entry_id: str) -> Json:
    """What can be done next with the entry that an answer names."""
    return {
        name: {"operationId": name, "parameters": {"id": entry_id}}
        for name in ("get_entry", "put_entry", "change_entry", "delete_entry")
    }
