"""The client of the ledger API, which is called through the proxy like any other client calls it.

One call is one connection and one send. The proxy decides what may be sent again and where; a
client that also retried would multiply the attempts and could double an unkeyed write. Connections
are not kept: a proxy that reloads closes idle ones at once, even one whose next request is on its
way, and without retries that would be a failure. A new loopback connection costs about 0.1 ms.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

import gevent
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

CONNECT_TIMEOUT_S = 2.0
LARGEST_ANSWER = 4 * 1024 * 1024
# A longer pause asked for by the API is not passed on: it comes back far sooner than that.
LONGEST_RETRY_AFTER_S = 60


class LedgerError(Exception):
    """The API gave no usable answer; only LedgerRefusedError means that nothing was done."""


class LedgerUnavailableError(LedgerError):
    """Nobody answered, or the answer was 502, 503 or 504; `retry_after_s` is when to try again."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class LedgerTimeoutError(LedgerUnavailableError):
    """No whole answer within the time limit."""


class LedgerBrokenError(LedgerError):
    """The API answered something that breaks its own contract, or a 500."""


class LedgerRefusedError(LedgerError):
    """The API refused the request (4xx) and said why."""

    def __init__(self, status: int, code: str, message: str, resolution: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.resolution = resolution


@dataclass(frozen=True)
class Entry:
    """One entry of the ledger, as the API gives it."""

    id: str
    account: str
    amount: int
    memo: str
    version: int
    created_at: str


@dataclass(frozen=True)
class Answered:
    """Which API process answered; both are empty when the answer did not say."""

    instance: str
    boot: str


@dataclass(frozen=True)
class EntryPage:
    """One page of the ledger; `next_cursor` leads to the following one."""

    entries: list[Entry]
    next_cursor: str | None
    by: Answered


@dataclass(frozen=True)
class Added:
    """An added entry; `replayed` says that an earlier send with the same key had added it."""

    entry: Entry
    replayed: bool
    by: Answered


@dataclass(frozen=True)
class Reply:
    """One whole HTTP answer with a JSON object in it."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def by(self) -> Answered:
        """Who made it."""
        return Answered(self.headers.get("X-Instance", ""), self.headers.get("X-Boot", ""))


class LedgerClient:
    """Calls the API below `base_url` (http://host:port); a call takes `timeout_s` at most."""

    def __init__(self, base_url: str, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.hostname is None:
            raise ValueError(f"ledger address {base_url!r}: names no host")
        self._host = parts.hostname
        self._port = parts.port or 80
        self._timeout_s = timeout_s

    def entries(
        self, request_id: str, *, account: str = "", cursor: str = "", limit: int
    ) -> EntryPage:
        """One page of entries, of one account when `account` is given."""
        filters = {"account": account, "cursor": cursor, "limit": str(limit)}
        query = urlencode({name: value for name, value in filters.items() if value})
        reply = self._call(request_id, "GET", f"/api/v1/entries?{query}")
        try:
            entries = [entry(item) for item in reply.body["entries"]]
            return EntryPage(entries, reply.body["next_cursor"], reply.by)
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerBrokenError(f"unknown shape of the list: {error!r}") from error

    def add(self, request_id: str, key: str, account: str, amount: int, memo: str) -> Added:
        """Add one entry. Calling again with the same key and values adds nothing more."""
        body = {"account": account, "amount": amount, "memo": memo}
        reply = self._call(request_id, "POST", "/api/v1/entries", body, key)
        replayed = reply.headers.get("Idempotent-Replayed") == "true"
        try:
            return Added(entry(reply.body), replayed, reply.by)
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerBrokenError(f"unknown shape of the entry: {error!r}") from error

    def whoami(self, request_id: str) -> Answered:
        """Which API process answers."""
        return self._call(request_id, "GET", "/api/v1/whoami").by

    def _call(
        self,
        request_id: str,
        method: str,
        target: str,
        body: dict[str, Any] | None = None,
        key: str = "",
    ) -> Reply:
        """Send one request once and return its answer, or raise the LedgerError that fits."""
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": "bulkhead-web",
            "X-Request-ID": request_id,
        }
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        what = f"{method} {target.partition('?')[0]}"
        late = LedgerTimeoutError(f"{what} gave no whole answer within {self._timeout_s:g} s")
        payload = None if body is None else json.dumps(body).encode()
        try:
            # Around everything: the socket's own timeout would start anew with every piece of body.
            with gevent.Timeout(self._timeout_s, late):
                status, received, content = self._exchange(method, target, payload, headers)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise LedgerUnavailableError(f"{what}: nobody accepts connections") from error
        except (HTTPError, HTTPException, OSError) as error:
            raise LedgerUnavailableError(f"{what}: the connection broke ({error})") from error
        return judged(what, status, received, content)

    def _exchange(
        self, method: str, target: str, payload: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            connection.timeout = self._timeout_s
            connection.request(method, target, payload, headers, preload_content=False)
            response = connection.getresponse()
            try:
                return response.status, response.headers, response.read(LARGEST_ANSWER + 1)
            finally:
                response.close()
        finally:
            connection.close()


def judged(what: str, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
    """The answer as a Reply, when it is a 2xx with a JSON object."""
    if status in (502, 503, 504):
        raise LedgerUnavailableError(f"{what} was answered with {status}", retry_after(headers))
    if len(content) > LARGEST_ANSWER:
        raise LedgerBrokenError(f"{what} answered more than {LARGEST_ANSWER} bytes")
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise LedgerBrokenError(f"{what} was answered with {status} and no JSON object")
    if 400 <= status < 500:
        code, message, resolution = (
            str(body.get(name, "")) for name in ("error_code", "error_msg", "resolution")
        )
        raise LedgerRefusedError(status, code or "ledger_refused", message, resolution)
    if not 200 <= status < 300:
        raise LedgerBrokenError(f"{what} was answered with {status}")
    return Reply(status, headers, body)


def retry_after(headers: Mapping[str, str]) -> int:
    """The pause in seconds that the answer asks for, from 1 to LONGEST_RETRY_AFTER_S."""
    asked = headers.get("Retry-After", "")
    return min(max(int(asked), 1), LONGEST_RETRY_AFTER_S) if asked.isdecimal() else 1


def entry(item: Any) -> Entry:
    """An Entry from the API's JSON; raises KeyError, TypeError or ValueError when one is wrong."""
    return Entry(
        id=str(item["id"]),
        account=str(item["account"]),
        amount=int(item["amount"]),
        memo=str(item["memo"]),
        version=int(item["version"]),
        created_at=str(item["created_at"]),
    )
