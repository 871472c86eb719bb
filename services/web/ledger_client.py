"""The client of the ledger API, which it calls through the proxy like any other client.

One call is one connection and one send. Only the proxy retries: a client that did so too would
multiply the attempts and could double an unkeyed write. Connections are not kept: a proxy that
reloads closes idle ones at once, even one whose next request is on its way.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

import gevent
from flask import g, request
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from services.web.error_pages import Problem

CONNECT_TIMEOUT_S = 2.0
LARGEST_ANSWER = 4 * 1024 * 1024
# A longer pause asked for by the API is not passed on: it comes back far sooner than that.
LONGEST_RETRY_AFTER_S = 60


class LedgerCallError(Problem):
    """The API gave no usable answer; only after a 4xx it is certain that nothing was done."""


def unavailable(
    detail: str, retry_after_s: int = 1, code: str = "ledger_unavailable"
) -> LedgerCallError:
    """No answer came in time, or the answer was 502, 503 or 504."""
    message = f"The ledger does not answer at the moment: {detail}."
    pause = str(retry_after_s)
    return LedgerCallError(503, code, message, f"Try again in {pause} s.", {"Retry-After": pause})


def broken(detail: str) -> LedgerCallError:
    """The API answered something that breaks its own contract, or a 500."""
    message = f"The ledger gave an answer that cannot be used: {detail}."
    advice = "Try again; if it fails again, report the request id."
    return LedgerCallError(502, "ledger_broken", message, advice)


@dataclass(frozen=True)
class ShownEntry:
    """One entry of the ledger, as the API gives it."""

    id: str
    account: str
    amount: int
    memo: str
    version: int
    created_at: str


Reply = tuple[Mapping[str, str], dict[str, Any]]  # the headers and the JSON of an answer
WRONG_SHAPE = (KeyError, TypeError, ValueError)


class LedgerClient:
    """Calls the API below `base_url` (http://host:port) for the request that Flask handles.

    A call takes `timeout_s` at most.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.hostname is None:
            raise ValueError(f"ledger address {base_url!r}: names no host")
        port = parts.port or 80
        self._connection = partial(HTTPConnection, parts.hostname, port, timeout=CONNECT_TIMEOUT_S)
        self._timeout_s = timeout_s

    def entries(self, account: str, cursor: str, limit: int) -> dict[str, Any]:
        """One page of entries, of one account when `account` is given.

        `next_cursor` leads to the following page; `by` is as `answered`.
        """
        filters = {"account": account, "cursor": cursor, "limit": str(limit)}
        query = urlencode({name: value for name, value in filters.items() if value})
        headers, body = self._call("GET", f"/api/v1/entries?{query}")
        try:
            entries = [entry(item) for item in body["entries"]]
            return {"entries": entries, "next_cursor": body["next_cursor"], "by": answered(headers)}
        except WRONG_SHAPE as error:
            raise broken(f"unknown shape of the list: {error!r}") from error

    def add(self, key: str, account: str, amount: int, memo: str) -> tuple[ShownEntry, bool]:
        """Add one entry; the entry, and whether an earlier send with the same key had added it."""
        draft = {"account": account, "amount": amount, "memo": memo}
        headers, body = self._call("POST", "/api/v1/entries", draft, key)
        try:
            return entry(body), headers.get("Idempotent-Replayed") == "true"
        except WRONG_SHAPE as error:
            raise broken(f"unknown shape of the entry: {error!r}") from error

    def whoami(self) -> dict[str, str]:
        """Which API process answers, as `answered`."""
        return answered(self._call("GET", "/api/v1/whoami")[0])

    def _call(
        self, method: str, target: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> Reply:
        """Send one request once and return its answer, or raise the LedgerCallError that fits."""
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": "bulkhead-web",
            "X-Request-ID": next(g.sub_request_ids),
        }
        # By this name, the same for every retry, the proxy counts how long a page's calls wait.
        if parent := request.headers.get("X-Proxy-Request"):
            headers["X-Parent-Request"] = parent
        if body is not None:
            headers |= {"Content-Type": "application/json", "Idempotency-Key": key}
        call = f"{method} {target.partition('?')[0]}"
        detail = f"{call} gave no whole answer within {self._timeout_s:g} s"
        late = unavailable(detail, code="ledger_timeout")
        payload = None if body is None else json.dumps(body).encode()
        try:
            # Around everything: the socket's own timeout would start anew with every piece of body.
            with gevent.Timeout(self._timeout_s, late), closing(self._connection()) as connection:
                connection.connect()
                connection.timeout = self._timeout_s
                connection.request(method, target, payload, headers, preload_content=False)
                with closing(connection.getresponse()) as response:
                    status, received = response.status, response.headers
                    content = response.read(LARGEST_ANSWER + 1)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise unavailable(f"{call}: nobody accepts connections") from error
        except (HTTPError, HTTPException, OSError) as error:
            raise unavailable(f"{call}: the connection broke ({error})") from error
        return read_reply(call, status, received, content)


def read_reply(call: str, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
    """The answer, when it is a 2xx with a JSON object."""
    if status in (502, 503, 504):
        raise unavailable(f"{call} was answered with {status}", retry_after(headers))
    if len(content) > LARGEST_ANSWER:
        raise broken(f"{call} answered more than {LARGEST_ANSWER} bytes")
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise broken(f"{call} was answered with {status} and no JSON object")
    if 400 <= status < 500:
        code, message, resolution = (
            str(body.get(name, "")) for name in ("error_code", "error_msg", "resolution")
        )
        raise LedgerCallError(
            status,
            code or "ledger_refused",
            message or "The ledger refused the request.",
            resolution or "Correct the request.",
        )
    if not 200 <= status < 300:
        raise broken(f"{call} was answered with {status}")
    return headers, body


def answered(headers: Mapping[str, str]) -> dict[str, str]:
    """The API process that made an answer; both are empty when the answer does not say."""
    return {"instance": headers.get("X-Instance", ""), "boot": headers.get("X-Boot", "")}


def retry_after(headers: Mapping[str, str]) -> int:
    """The pause in seconds that the answer asks for, from 1 to LONGEST_RETRY_AFTER_S."""
    asked = headers.get("Retry-After", "")
    return min(max(int(asked), 1), LONGEST_RETRY_AFTER_S) if asked.isdecimal() else 1


def entry(item: Any) -> ShownEntry:
    """An entry from the API's JSON; one of WRONG_SHAPE if a member is wrong."""
    members = ShownEntry.__annotations__.items()
    return ShownEntry(**{name: kind(item[name]) for name, kind in members})
