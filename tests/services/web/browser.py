"""A client as small as can be: a connection per request; cookies and forms when it is a browser."""

import json
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass(frozen=True)
class Answer:
    """One whole response."""

    status: int
    headers: Message
    text: str

    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json", self
        return json.loads(self.text)

    def form(self) -> dict[str, str]:
        """The fields of the page's form that posts."""
        reader = FormReader()
        reader.feed(self.text)
        return reader.fields


class FormReader(HTMLParser):
    """Collects the fields of forms with method post."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._inside = False
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._inside = given.get("method") == "post"
        elif tag in ("input", "textarea") and self._inside:
            name = given["name"] or ""
            self.fields[name] = given.get("value") or ""
            self._text = name if tag == "textarea" else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._text = ""

    def handle_data(self, data: str) -> None:
        if self._text:
            self.fields[self._text] += data


@dataclass
class Browser:
    """Asks one port; keeps cookies like a browser does."""

    port: int
    accept: str = BROWSER
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Accept": self.accept} | (headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, body, {n: v for n, v in sent.items() if v})
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
        for header in answer.headers.get_all("Set-Cookie", []):
            self.cookies |= {name: m.value for name, m in SimpleCookie(header).items()}
        return answer

    def get(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", target, headers=headers)

    def post(
        self, target: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded"} | (headers or {})
        return self.ask("POST", target, urlencode(fields).encode(), form)


def program(port: int) -> Browser:
    """A client that asks for JSON."""
    return Browser(port, accept="application/json")
