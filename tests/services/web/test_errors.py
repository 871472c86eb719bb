import json
import socket
from contextlib import suppress

import pytest

from bulkhead.testing import wait_until
from services.common.identity import REQUEST_ID
from tests.services.web.browser import BROWSER, Answer, Browser, program
from tests.services.web.conftest import StartWeb
from tests.services.web.processes import WebInstance

pytestmark = pytest.mark.live

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOO_LARGE = b"x=" + b"y" * 65 * 1024


def identified(answer: Answer) -> bool:
    return (
        answer.headers["X-Instance"] == "web-1"
        and "." in answer.headers["X-Boot"]
        and REQUEST_ID.fullmatch(answer.headers["X-Request-ID"]) is not None
    )


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("DELETE", "/whoami", None, 405, "method_not_allowed"),
        ("POST", "/healthz", None, 405, "method_not_allowed"),
        ("POST", "/entries", TOO_LARGE, 413, "body_too_large"),
        ("POST", "/nowhere", TOO_LARGE, 413, "body_too_large"),
        ("GET", "/static/../secret", None, 404, "not_found"),
    ],
)
def test_programs_get_json(
    client: Browser, method: str, target: str, body: bytes | None, status: int, code: str
) -> None:
    answer = client.ask(method, target, body, FORM if body else None)
    assert answer.status == status
    problem = answer.json()
    assert problem["error_code"] == code
    assert problem["error_msg"]
    assert problem["resolution"]
    assert identified(answer)


def test_browsers_get_a_page(browser: Browser) -> None:
    answer = browser.get("/nowhere")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "There is nothing at /nowhere." in answer.text
    assert identified(answer)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (BROWSER, "text/html"),
        ("text/html", "text/html"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, text/html", "text/html"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_accept_header_decides(web: WebInstance, accept: str, kind: str) -> None:
    answer = Browser(web.port, accept).get("/nowhere")
    assert answer.headers.get_content_type() == kind
    assert "Accept" in answer.headers["Vary"]


def test_405_names_the_allowed_methods(client: Browser) -> None:
    allowed = client.ask("DELETE", "/whoami").headers["Allow"]
    assert set(allowed.split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_body_of_unknown_length_is_limited_too(web: WebInstance) -> None:
    chunk = b"10000\r\n" + b"y" * 0x10000 + b"\r\n"
    request = (
        b"POST /entries HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + chunk * 2 + b"0\r\n\r\n"
    )
    assert raw(web.port, request).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 90", b"token=t&key=k&account=alice&amount=12&memo=the begin"),
        (b"Transfer-Encoding: chunked", b"20\r\ntoken=t&key=k&account=alice&amoun"),
    ],
)
def test_a_body_whose_sender_died_is_not_taken_for_a_whole_one(
    web: WebInstance, framing: bytes, body: bytes
) -> None:
    head = (
        b"POST /entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    )
    assert raw(web.port, head + framing + b"\r\n\r\n" + body).startswith(b"HTTP/1.1 400 ")


def test_a_request_id_is_kept_if_well_formed(client: Browser) -> None:
    for given in ("abcdefgh", "A1._-" * 25):
        assert client.get("/whoami", {"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["short", "with space", "-leading-dash", "x" * 129, 'quo"ted-id'])
def test_a_malformed_request_id_is_replaced(client: Browser, given: str) -> None:
    answer = client.get("/whoami", {"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] != given
    assert identified(answer)


def test_a_crash_is_answered_without_a_trace_and_logged_with_its_id(start_web: StartWeb) -> None:
    web = start_web("tests.services.web.crashing:app")
    for client, kind in ((program(web.port), "application/json"), (Browser(web.port), "text/html")):
        answer = client.get("/crash", {"X-Request-ID": "the-crashing-one"})
        assert answer.status == 500
        assert answer.headers.get_content_type() == kind
        assert "Traceback" not in answer.text
        assert "on purpose" not in answer.text
        assert identified(answer)
    log = web.log.read_text()
    assert "request the-crashing-one: GET /crash" in log
    assert "ZeroDivisionError: on purpose" in log


@pytest.mark.parametrize("target", ["/crash-handled-badly", "/crash-late"])
def test_a_crash_while_answering_still_ends_with_a_500_and_an_end_row(
    start_web: StartWeb, target: str
) -> None:
    web = start_web("tests.services.web.crashing:app")
    answer = program(web.port).get(target, {"X-Request-ID": "request-1"})
    assert answer.status == 500
    assert "on purpose" not in answer.text
    wait_until("the end row", lambda: len(web.rows.read_text().splitlines()) == 2)
    last = json.loads(web.rows.read_text().splitlines()[-1])
    assert (last["kind"], last["id"], last["status"]) == ("end", "request-1", 500)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \x01\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * 101 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\n\r\n", b"417"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n", b"501"),
    ],
)
def test_what_gunicorn_refuses_by_itself_is_identified_too(
    web: WebInstance, request_bytes: bytes, status: bytes
) -> None:
    answer = raw(web.port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nX-Instance: web-1\r\nX-Boot: " in answer
    assert b"\r\nX-Request-ID: " in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert set(json.loads(body)) == {"error_code", "error_msg", "resolution"}


def raw(port: int, request: bytes) -> bytes:
    """What the server sends back before it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        # A server that answers and closes without reading all that was sent resets the connection.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        with suppress(OSError):
            received += connection.recv(65536)
    return received
