"""One request, one answer."""

import json
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    status: int
    headers: Message
    body: bytes

    @property
    def instance(self) -> str:
        """The instance that answered."""
        return self.headers["X-Instance"] or ""

    def json(self) -> Any:  # a test looks into it as it likes
        """The body, decoded."""
        return json.loads(self.body)


def request(
    url: str,
    method: str = "GET",
    target: str = "/",
    body: object = None,
    headers: dict[str, str] | None = None,
    source: str = "",
    timeout_s: float = 15,
) -> Answer:
    """Send one request to `url`: one connection, one send, no retry, no redirect.

    `source` is the loopback address to send it from.
    """
    connection = HTTPConnection(
        url.removeprefix("http://"),
        timeout=timeout_s,
        source_address=(source, 0) if source else None,
    )
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
