"""Every error has one form, whoever makes it: nginx, Tornado, gunicorn, or a handler of theirs."""

import json
import socket
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser

import pytest

from bulkhead.records import ProxyRow
from bulkhead.testing import wait_until
from tests.support.rows import rows_so_far
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.live

SMALL = (
    "services.api.instances=1", "services.web.instances=1", "services.web.workers=1",
    "proxy.max_header_kb=64",
)  # fmt: skip
API, WEB, STATIC = "/api/v1/whoami", "/whoami", "/static/style.css"
LARGE = "a" * 60_000


@pytest.fixture(scope="module", params=["watched", "nginx"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The real services, with as large headers as there may be, behind each balancer."""
    folder = tmp_path_factory.mktemp("refusals") / "home"
    with running_stack(folder, (*SMALL, f"proxy.balancer={request.param}")) as running:
        yield running


def raw(stack: Stack, text: bytes) -> bytes:
    """Send bytes as they are, and read until the connection closes."""
    with socket.create_connection(("127.0.0.1", stack.ports[0]), timeout=15) as connection:
        connection.sendall(text)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def ask(
    stack: Stack, target: str, *headers: str, method: str = "GET", host: str = "x"
) -> tuple[int, Message, bytes]:
    """One request with these header lines: status, headers and body of the answer."""
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", "")
    head, _, body = raw(stack, "\r\n".join(lines).encode("latin1")).partition(b"\r\n\r\n")
    status_line, _, rest = head.partition(b"\r\n")
    return int(status_line.split()[1]), BytesParser().parsebytes(rest), body


@pytest.mark.parametrize("headers", [("X-A: a\x01b",), ("X-A: a\x7fb",)])
@pytest.mark.parametrize(("target", "instance"), [(API, "api-1"), (WEB, "web-1")])
def test_what_a_server_refuses_is_its_own_answer_in_the_common_form(
    stack: Stack, target: str, instance: str, headers: tuple[str, ...]
) -> None:
    status, named, body = ask(stack, target, *headers)
    assert (status, named["X-Instance"]) == (400, instance)
    assert set(json.loads(body)) == {"error_code", "error_msg", "resolution"}


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (WEB, [f"X-{number}: a" for number in range(120)], 431),
        ("/who\xff", [], 400),
        ("/api/v1/\xff", [], 404),
        ("/api/v1/entries?limit=\xff", [], 400),
        (API, ["Transfer-Encoding: gzip"], 501),
        (WEB, ["Content-Length: -1"], 400),
    ],
)
def test_every_refusal_has_the_common_form(
    stack: Stack, target: str, headers: list[str], status: int
) -> None:
    got, named, body = ask(stack, target, *headers)
    assert got == status
    assert set(json.loads(body)) == {"error_code", "error_msg", "resolution"}
    assert named.get_all("X-Content-Type-Options") == ["nosniff"]


def test_a_browser_gets_a_page(stack: Stack) -> None:
    many = [f"X-{number}: a" for number in range(120)]
    status, named, body = ask(stack, WEB, "Accept: text/html", *many)
    assert status == 431
    assert named.get_content_type() in ("text/html", "application/json")
    assert b"100 are allowed" in body


@pytest.mark.parametrize("target", [API, WEB])
def test_what_nginx_takes_no_service_refuses(stack: Stack, target: str) -> None:
    """Three headers as large as one may be; the fourth buffer has the rest of the request."""
    headers = [f"X-{number}: {LARGE}" for number in range(3)]
    assert ask(stack, target, *headers)[0] == 200
    assert ask(stack, f"{target}?{LARGE}", method="DELETE")[0] == 405
    assert ask(stack, target, f"X-Too-Large: {LARGE}{LARGE}")[0] == 400


@pytest.mark.parametrize(
    ("target", "method", "allowed"),
    [
        (API, "PUT", "GET, HEAD, OPTIONS"),
        (WEB, "PUT", "GET, HEAD, OPTIONS"),
        (STATIC, "PUT", "GET, HEAD"),
        (STATIC, "OPTIONS", "GET, HEAD"),
        (API, "TRACE", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        (WEB, "BREW", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_405_says_what_is_allowed(stack: Stack, target: str, method: str, allowed: str) -> None:
    status, named, body = ask(stack, target, method=method)
    assert status == 405
    (found,) = named.get_all("Allow", [])
    assert ", ".join(sorted(found.split(", "))) == allowed
    assert set(json.loads(body)) == {"error_code", "error_msg", "resolution"}


@pytest.mark.parametrize("target", [API, WEB, STATIC, "/healthz", "/static/none", "/nowhere"])
def test_every_answer_is_what_its_type_says(stack: Stack, target: str) -> None:
    assert ask(stack, target)[1].get_all("X-Content-Type-Options") == ["nosniff"]


@pytest.mark.parametrize("target", [API, WEB, STATIC, "/nowhere"])
def test_a_request_without_a_version_is_not_executed(stack: Stack, target: str) -> None:
    before = len(rows_so_far(stack.home.proxy_rows, ProxyRow))
    executed = stack.home.service_rows.read_bytes().count(b"\n")
    answer = raw(stack, f"GET {target}\r\n".encode())
    assert json.loads(answer)["error_code"] == "http_version"
    rows = wait_until(
        "its row", lambda: rows_so_far(stack.home.proxy_rows, ProxyRow)[before:] or None
    )
    assert [(row.status, row.target, row.addrs) for row in rows] == [(505, target, "")]
    assert stack.home.service_rows.read_bytes().count(b"\n") == executed


def test_an_unknown_version_is_answered_once(stack: Stack) -> None:
    answer = raw(stack, b"GET / HTTP/3.0\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b'"http_version"' in answer
