"""What the OpenAPI document is made of: schemas, headers, errors, parameters and their builders."""

from collections.abc import Sequence
from typing import Any

from services.api.handlers.fanout import MAX_CALLS
from services.api.ledger import (
    ACCOUNT_PATTERN,
    CURSOR_PATTERN,
    ENTRY_ID_PATTERN,
    MAX_AMOUNT,
    MAX_LIMIT,
    MAX_MEMO,
    MEMO_PATTERN,
)

Json = dict[str, Any]

STRING: Json = {"type": "string"}
ACCOUNT: Json = {"type": "string", "pattern": f"^{ACCOUNT_PATTERN}$"}
AMOUNT: Json = {"type": "integer", "minimum": -MAX_AMOUNT, "maximum": MAX_AMOUNT}
MEMO: Json = {"type": "string", "maxLength": MAX_MEMO, "pattern": f"^{MEMO_PATTERN}$"}
ENTRY_ID: Json = {"type": "string", "pattern": f"^{ENTRY_ID_PATTERN}$"}
TIME: Json = {"type": "string", "format": "date-time"}
ETAG: Json = {"type": "string", "pattern": '^"[1-9][0-9]*"$'}
TAGS: Json = {
    "type": "string",
    "pattern": r'^(\*|"[0-9]{1,18}"(, "[0-9]{1,18}"){0,3})$',
    "examples": ["*", '"1"'],
}
REQUEST_ID: Json = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{7,127}$"}
KEY: Json = {"type": "string", "pattern": "^[A-Za-z0-9._:~+/=@-]{1,255}$"}


def ref(kind: str, name: str) -> Json:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def shape(members: Json, optional: tuple[str, ...] = (), **more: Any) -> Json:
    """The schema of an object that has these members and no others."""
    required = [name for name in members if name not in optional]
    schema = {"type": "object", "properties": members, "additionalProperties": False, **more}
    return {**schema, "required": required} if required else schema


SCHEMAS: Json = {
    "Error": shape({"error_code": STRING, "error_msg": STRING, "resolution": STRING}),
    "Draft": shape(
        {"account": ACCOUNT, "amount": AMOUNT, "memo": {**MEMO, "default": ""}}, optional=("memo",)
    ),
    "NewDraft": shape(
        {"id": ENTRY_ID, "account": ACCOUNT, "amount": AMOUNT, "memo": {**MEMO, "default": ""}},
        optional=("id", "memo"),
    ),
    "Changes": shape(
        {"account": ACCOUNT, "amount": AMOUNT, "memo": MEMO},
        optional=("account", "amount", "memo"),
        minProperties=1,
        description="The members to change; null is no value for any of them.",
    ),
    "Entry": shape(
        {
            "id": ENTRY_ID,
            "account": ACCOUNT,
            "amount": AMOUNT,
            "memo": MEMO,
            "version": {"type": "integer", "minimum": 1},
            "created_at": TIME,
            "updated_at": TIME,
        }
    ),
    "Page": shape(
        {
            "entries": {"type": "array", "maxItems": MAX_LIMIT, "items": ref("schemas", "Entry")},
            "next_cursor": {
                "description": "Where the next page starts; null on the last page.",
                "type": ["string", "null"],
                "pattern": f"^{CURSOR_PATTERN}$",
            },
        }
    ),
    "Whoami": shape(
        {
            "service": STRING,
            "instance": STRING,
            "pid": {"type": "integer", "minimum": 1},
            "boot": STRING,
            "request_id": REQUEST_ID,
        }
    ),
    "Fanout": shape(
        {
            "n": {"type": "integer", "minimum": 1, "maximum": MAX_CALLS},
            "answers": {
                "type": "array",
                "items": shape(
                    {
                        "instance": {"type": ["string", "null"]},
                        "boot": {"type": ["string", "null"]},
                        "status": {"const": 200},
                    }
                ),
            },
            "failed": {"const": 0},
        }
    ),
}


def header(description: str, schema: Json, required: bool = True) -> Json:
    """A response header."""
    return {"description": description, "schema": schema, "required": required}


HEADERS: Json = {
    "X-Instance": header("The instance that answered.", STRING),
    "X-Boot": header("This start of its process: pid and start time in clock ticks.", STRING),
    "X-Request-ID": header("The request's own id, or the one it was given.", REQUEST_ID),
    "ETag": header("The entry's version in quotes.", ETAG),
    "Location": header("The path of the new entry.", STRING),
    "Idempotent-Replayed": header(
        "Present when this is the stored answer to an earlier request with the same key.",
        {"const": "true"},
        required=False,
    ),
    "Retry-After": header("Seconds.", {"type": "string", "pattern": "^[1-9][0-9]*$"}),
    "Allow": header("The methods that this resource takes.", STRING),
}
IDENTITY = ("X-Instance", "X-Boot", "X-Request-ID")


def answer(description: str, *headers: str, media: str = "application/json", **schema: Any) -> Json:
    """A response: its headers beside the identity, and the schema of its body if it has one."""
    response: Json = {
        "description": description,
        "headers": {name: ref("headers", name) for name in (*IDENTITY, *headers)},
    }
    if schema:
        response["content"] = {media: {"schema": schema}}
    return response


def error(description: str, *headers: str) -> Json:
    """An error response."""
    return answer(description, *headers, **ref("schemas", "Error"))


REPLAY = "Idempotent-Replayed"
RESPONSES: Json = {
    "400": error("Malformed: query argument, header, id, JSON or HTTP itself."),
    "404": error("The ledger holds no such entry.", REPLAY),
    "409": error("The ledger holds an entry with this id already.", REPLAY),
    "412": error("If-Match or If-None-Match does not hold.", REPLAY),
    "413": error("The body is too large."),
    "415": error("The body is not plain application/json."),
    "422": error("Outside the limits, or an idempotency key of another request."),
    "500": error("A fault of this service."),
    "502": error("Some call to the web service failed."),
    "503": error(
        "The ledger is locked or away, or too much is waiting; nothing was done.", "Retry-After"
    ),
    "504": error("The ledger was lost in a commit; it may have been done or not.", "Retry-After"),
}


def errors(*statuses: str) -> Json:
    """References to the error responses of these statuses."""
    return {status: ref("responses", status) for status in statuses}


def parameter(place: str, name: str, description: str, schema: Json) -> Json:
    """A request parameter."""
    return {
        "name": name,
        "in": place,
        "description": description,
        "schema": schema,
        "required": place == "path",
    }


def integer(name: str, description: str, low: int, high: int, **more: Any) -> Json:
    """An integer query argument."""
    schema = {"type": "integer", "minimum": low, "maximum": high, **more}
    return parameter("query", name, description, schema)


PARAMETERS: Json = {
    "request_id": parameter(
        "header", "X-Request-ID", "Taken over when well formed, else replaced.", STRING
    ),
    "key": parameter(
        "header",
        "Idempotency-Key",
        "Makes the write harmless to repeat: it is applied once, and every repetition within 24 h"
        " gets the stored answer.",
        KEY,
    ),
    "if_match": parameter("header", "If-Match", "The state the entry must be in.", TAGS),
    "if_none_match": parameter(
        "header", "If-None-Match", "The state the entry must not be in; * for no entry.", TAGS
    ),
}


def operation(
    name: str, summary: str, *parameters: Json | str, responses: Json, body: str = ""
) -> Json:
    """One operation; parameters are given whole or by the name of their component."""
    described: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": [
            ref("parameters", each) if isinstance(each, str) else each
            for each in ("request_id", *parameters)
        ],
        "responses": {**responses, **errors("400", "413", "415", "500")},
    }
    if body:
        content = {"application/json": {"schema": ref("schemas", body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def resource(path_parameters: Sequence[Json] = (), **operations: Json) -> Json:
    """A path: its operations, and the HEAD and OPTIONS that every resource answers."""
    get = operations["get"]
    head = {
        **get,
        "operationId": f"{get['operationId']}_head",
        "summary": "The headers of GET.",
        "responses": {
            status: {key: value for key, value in _resolved(response).items() if key != "content"}
            for status, response in get["responses"].items()
        },
    }
    options = operation(
        f"{get['operationId']}_options",
        "The methods of this resource.",
        responses={"204": answer("No content.", "Allow")},
    )
    path: Json = {**operations, "head": head, "options": options}
    return {**path, "parameters": [*path_parameters]} if path_parameters else path


def _resolved(response: Json) -> Json:
    named: str = response.get("$ref", "")
    result: Json = RESPONSES[named.rpartition("/")[2]] if named else response
    return result
