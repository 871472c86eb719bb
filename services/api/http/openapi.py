"""The OpenAPI document of this API: GET /api/v1/openapi.json.

It is written by hand around the same limits that the code checks; a schemathesis run in the tests
proves that the service behaves as it says. The internal endpoints are not in it: no client can
reach them through the proxy.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from services.api.http import inputs
from services.api.ledger import entry
from services.common.identity import REQUEST_ID

VERSION = "1.0.0"

Json = dict[str, Any]

STRING: Json = {"type": "string"}
NAME: Json = {"type": ["string", "null"]}
POSITIVE: Json = {"type": "integer", "minimum": 1}
ACCOUNT = inputs.text(entry.ACCOUNT_PATTERN)
MEMO = inputs.text(entry.MEMO_PATTERN) | {"maxLength": entry.MAX_MEMO}
ENTRY_ID = inputs.text(entry.ENTRY_ID_PATTERN)
TIME: Json = {"type": "string", "format": "date-time"}
ETAG = inputs.text('"[1-9][0-9]*"')
TAGS = inputs.text(r'(\*|"[0-9]{1,18}"(, "[0-9]{1,18}"){0,3})') | {"examples": ["*", '"1"']}
REQUEST_ID_SCHEMA = inputs.text(REQUEST_ID.pattern)


@lru_cache(maxsize=1)
def document(max_body_bytes: int, work_ms: int, work_cpu_ms: int) -> bytes:
    """The document as JSON; the arguments are this instance's limits."""
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
            "paths": _paths(work_ms, work_cpu_ms),
            "components": {
                "schemas": SCHEMAS,
                "headers": HEADERS,
                "responses": RESPONSES,
                "parameters": PARAMETERS,
            },
        }
    )


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(members: Json, optional: tuple[str, ...] = (), **more: Any) -> Json:
    """The schema of an object that has these members and no others."""
    required = [name for name in members if name not in optional]
    schema = {"type": "object", "properties": members, "additionalProperties": False, **more}
    return {**schema, "required": required} if required else schema


def _header(description: str, schema: Json, required: bool = True) -> Json:
    return {"description": description, "schema": schema, "required": required}


def _content(schema: Json, media: str = "application/json") -> Json:
    return {"content": {media: {"schema": schema}}}


def _answer(description: str, schema: str = "", *headers: str) -> Json:
    """A response: its headers beside the identity, and the schema of its body if it has one."""
    names = ("X-Instance", "X-Boot", "X-Request-ID", *headers)
    named = {name: _ref("headers", name) for name in names}
    body = _content(_ref("schemas", schema)) if schema else {}
    return {"description": description, "headers": named, **body}


def _parameter(place: str, name: str, description: str, schema: Json) -> Json:
    named: Json = {"name": name, "in": place, "description": description}
    return named | {"schema": schema, "required": place == "path"}


def _operation(
    name: str,
    summary: str,
    responses: Json,
    errors: str = "",
    parameters: Sequence[str] = (),
    body: str = "",
    query: Sequence[inputs.Argument] = (),
) -> Json:
    """One operation: `errors` are statuses, `parameters` and `body` are names of components."""
    failures = f"{errors} 400 413 415 500".split()
    described: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": [
            *(_ref("parameters", each) for each in ("request_id", *parameters)),
            *(_parameter("query", one.name, one.description, one.schema) for one in query),
        ],
        "responses": responses | {status: _ref("responses", status) for status in failures},
    }
    if body:
        described["requestBody"] = {"required": True, **_content(_ref("schemas", body))}
    return described


def _resource(get: Json, **others: Json) -> Json:
    """A path: its operations, and the HEAD and OPTIONS that every resource answers."""
    responses = {}
    for status, response in get["responses"].items():
        whole = RESPONSES[status] if "$ref" in response else response
        responses[status] = {name: value for name, value in whole.items() if name != "content"}
    name = get["operationId"]
    summary = "The headers of GET."
    head = {**get, "operationId": f"{name}_head", "summary": summary, "responses": responses}
    allow = {"204": _answer("No content.", "", "Allow")}
    options = _operation(f"{name}_options", "The methods of this resource.", allow)
    return {"get": get, **others, "head": head, "options": options}


def _links(entry_id: str) -> Json:
    """The operations that can follow on the entry of an answer."""
    return {
        name: {"operationId": name, "parameters": {"id": entry_id}}
        for name in ("get_entry", "put_entry", "change_entry", "delete_entry")
    }


ENTRIES: Json = {"type": "array", "maxItems": entry.MAX_LIMIT, "items": _ref("schemas", "Entry")}
DRAFT: Json = {"account": ACCOUNT, "amount": inputs.AMOUNT, "memo": {**MEMO, "default": ""}}
SCHEMAS: Json = {
    "Error": _object({"error_code": STRING, "error_msg": STRING, "resolution": STRING}),
    "Draft": _object(DRAFT, optional=("memo",)),
    "NewDraft": _object({"id": ENTRY_ID, **DRAFT}, optional=("id", "memo")),
    "Changes": _object(
        {**DRAFT, "memo": MEMO},
        optional=tuple(DRAFT),
        minProperties=1,
        description="The members to change; null is no value for any of them.",
    ),
    "Entry": _object(
        {"id": ENTRY_ID, **DRAFT, "memo": MEMO, "version": POSITIVE}
        | {"created_at": TIME, "updated_at": TIME}
    ),
    "Page": _object(
        {
            "entries": ENTRIES,
            "next_cursor": {
                "description": "Where the next page starts; null on the last page.",
                "type": ["string", "null"],
                "pattern": f"^{entry.CURSOR_PATTERN}$",
            },
        }
    ),
    "Whoami": _object(
        {"service": STRING, "instance": STRING, "pid": POSITIVE, "boot": STRING}
        | {"request_id": REQUEST_ID_SCHEMA}
    ),
    "Fanout": _object(
        {
            "n": inputs.integer(1, inputs.MAX_CALLS),
            "answers": {
                "type": "array",
                "items": _object({"instance": NAME, "boot": NAME, "status": {"const": 200}}),
            },
            "failed": {"const": 0},
        }
    ),
}

REPLAY = "Idempotent-Replayed"
CREATED = _answer("Created.", "Entry", "ETag", "Location", REPLAY)
HEADERS: Json = {
    "X-Instance": _header("The instance that answered.", STRING),
    "X-Boot": _header("This start of its process: pid and start time in clock ticks.", STRING),
    "X-Request-ID": _header("The request's own id, or the one it was given.", REQUEST_ID_SCHEMA),
    "ETag": _header("The entry's version in quotes.", ETAG),
    "Location": _header("The path of the new entry.", STRING),
    REPLAY: _header(
        "Present when this is the stored answer to an earlier request with the same key.",
        {"const": "true"},
        required=False,
    ),
    "Retry-After": _header("Seconds.", inputs.text("[1-9][0-9]*")),
    "Allow": _header("The methods that this resource takes.", STRING),
}

RESPONSES: Json = {
    "400": _answer("Malformed: query argument, header, id, JSON or HTTP itself.", "Error"),
    "404": _answer("The ledger holds no such entry.", "Error", REPLAY),
    "409": _answer("The ledger holds an entry with this id already.", "Error", REPLAY),
    "412": _answer("If-Match or If-None-Match does not hold.", "Error", REPLAY),
    "413": _answer("The body is too large.", "Error"),
    "415": _answer("The body is not plain application/json.", "Error"),
    "422": _answer("Outside the limits, or an idempotency key of another request.", "Error"),
    "500": _answer("A fault of this service.", "Error"),
    "502": _answer("Some call to the web service failed.", "Error"),
    "503": _answer(
        "The ledger is locked or away, or too much is waiting; nothing was done.",
        "Error",
        "Retry-After",
    ),
    "504": _answer(
        "The ledger was lost in a commit; it may have been done or not.", "Error", "Retry-After"
    ),
}

PARAMETERS: Json = {
    "request_id": _parameter(
        "header", "X-Request-ID", "Taken over when well formed, else replaced.", STRING
    ),
    "key": _parameter(
        "header",
        "Idempotency-Key",
        "Makes the write harmless to repeat: it is applied once, and every repetition within 24 h"
        " gets the stored answer.",
        inputs.text(inputs.KEY_PATTERN),
    ),
    "if_match": _parameter("header", "If-Match", "The state the entry must be in.", TAGS),
    "if_none_match": _parameter(
        "header", "If-None-Match", "The state the entry must not be in; * for no entry.", TAGS
    ),
}


def _paths(work_ms: int, work_cpu_ms: int) -> Json:
    whoami = {"200": _answer("The process that answers.", "Whoami")}
    binary = {**STRING, "format": "binary"}
    sent = {"200": _answer("The bytes.") | _content(binary, "application/octet-stream")}
    limits = inputs.work(work_ms, work_cpu_ms)
    work = _operation("work", "Wait, burn CPU, send a body.", sent, "422", query=limits)
    join = "Call the web service n times at once and join the answers."
    joined = {"200": _answer("All calls were answered.", "Fanout")}
    this = {"200": _answer("This document.") | _content({"type": "object"})}
    return {
        "/api/v1/whoami": _resource(_operation("whoami", "Who answers.", whoami)),
        **({"/api/v1/work": _resource(work)} if work_ms else {}),
        "/api/v1/fanout": _resource(
            _operation("fanout", join, joined, "422 502", query=inputs.FANOUT)
        ),
        "/api/v1/openapi.json": _resource(_operation("openapi", "This document.", this)),
        "/api/v1/entries": _entries(),
        "/api/v1/entries/{id}": _entry_by_id(),
    }


def _entries() -> Json:
    newest = "List entries, newest first."
    page = {"200": _answer("A page.", "Page")}
    add = "Add an entry, under a new id unless the body chooses one."
    added = {"201": CREATED | {"links": _links("$response.body#/id")}}
    return _resource(
        _operation("list_entries", newest, page, "422 503", query=inputs.FILTERS),
        post=_operation("add_entry", add, added, "409 422 503 504", ["key"], "NewDraft"),
    )


def _entry_by_id() -> Json:
    links = {"links": _links("$request.path.id")}
    changed = {"200": _answer("The entry as it is now.", "Entry", "ETag", REPLAY) | links}
    found = {
        "200": _answer("The entry.", "Entry", "ETag"),
        "304": _answer("The client's copy is current.", "", "ETag"),
    }
    conditions = ["if_match", "if_none_match"]
    write = ["key", *conditions]
    failures = "404 412 422 503 504"
    replace = "Create the entry, or replace all of it."
    replaced = changed | {"201": CREATED | links}
    change = "Change some members."
    gone = {"204": _answer("Deleted.", "", REPLAY)}
    path = _resource(
        _operation("get_entry", "The entry.", found, "404 412 503", conditions),
        put=_operation("put_entry", replace, replaced, "412 422 503 504", write, "Draft"),
        patch=_operation("change_entry", change, changed, failures, write, "Changes"),
        delete=_operation("delete_entry", "Delete the entry.", gone, failures, write),
    )
    return path | {"parameters": [_parameter("path", "id", "The entry's id.", ENTRY_ID)]}
