"""What nginx lets through, what it says of itself, and when it sends a request a second time."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.records import ProxyRow, read_rows
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.testing import wait_until
from tests.support.http import Answer
from tests.support.rows import rows_so_far
from tests.support.stack import ECHO, Stack, running_stack

pytestmark = pytest.mark.live

ROUND_ROBIN = ("services.api.policy=round_robin",)

BALANCERS = ("watched", "nginx")


@pytest.fixture(scope="module", params=BALANCERS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One echo stack for all tests that only ask, with each balancer in turn."""
    settings = [*ECHO, "proxy.max_body_kb=16", f"proxy.balancer={request.param}"]
    with running_stack(tmp_path_factory.mktemp("proxy") / "home", settings) as running:
        yield running


def row_of(stack: Stack, request_id: str) -> ProxyRow:
    """The one proxy row of a request; nginx writes it after the answer."""

    def find() -> list[ProxyRow]:
        return [row for row in rows_so_far(stack.home.proxy_rows, ProxyRow) if row.id == request_id]

    (row,) = wait_until(f"a proxy row for {request_id}", find)
    return row


def raw(stack: Stack, text: bytes) -> bytes:
    """Send bytes as they are and read until the connection closes."""
    with socket.create_connection(("127.0.0.1", stack.ports[0]), timeout=10) as connection:
        connection.sendall(text)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


# What a client can claim about itself, and what the service must be told instead.


def test_forwarded_headers_are_set_and_never_trusted(stack: Stack) -> None:
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Ssl": "on",
        "X-Forwarded-Protocol": "ssl",
        "Forwarded": "for=1.2.3.4",
        "X-Proxy-Request": "chosen-by-the-client",
        "Proxy": "http://evil.example",
    }
    answer = stack.get("/api/", headers=forged, source="127.0.0.9")
    told = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert told["x-forwarded-for"] == told["x-real-ip"] == "127.0.0.9"
    assert told["x-forwarded-proto"] == "http"
    assert told["x-forwarded-host"] == told["host"] == stack.url.removeprefix("http://")
    assert re.fullmatch("[0-9a-f]{32}", told["x-proxy-request"])
    # What is left of the forged headers is what nginx sets, and nothing else.
    kept = {"x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-host"}
    assert {name.lower() for name in forged} & told.keys() == kept | {"x-proxy-request"}
    for value in ("1.2.3.4", "evil"):
        assert value not in json.dumps(told)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("drill-0001.attempt_2", True),
        ("short", False),
        ("-leading-dash", False),
        ("with space in it", False),
        ('quote"in-the-id', False),
        ("x" * 128, True),
        ("x" * 129, False),
    ],
)
def test_a_request_id_is_kept_when_well_formed_else_replaced(
    stack: Stack, sent: str, kept: bool
) -> None:
    answer = stack.get("/api/", headers={"X-Request-ID": sent})
    found = answer.headers["X-Request-ID"]
    assert (found == sent) is kept
    assert answer.json()["headers"]["X-Request-Id"] == found
    assert kept or re.fullmatch("[0-9a-f]{32}", found)


def test_identity_is_given_once_and_is_the_upstreams(stack: Stack) -> None:
    answer = stack.get("/api/")
    assert answer.headers.get_all("X-Instance") == [answer.json()["instance"]]
    assert len(answer.headers.get_all("X-Boot") or []) == 1
    assert len(answer.headers.get_all("X-Request-ID") or []) == 1
    processes = stack.status()
    assert answer.headers["X-Boot"].split(".")[0] == str(processes[answer.instance]["pid"])


# Internal endpoints.


@pytest.mark.parametrize(
    "target",
    [
        "/healthz", "/readyz", "/metrics", "/admin", "/admin/faults", "/healthz/", "/healthz?x=1",
        "//healthz", "/./healthz", "/x/../healthz", "/%68ealthz", "/api/../healthz",
        "/static/../metrics", "/healthz%2f", "/%2e/readyz", "http://other.example/healthz",
    ],
)  # fmt: skip
def test_internal_endpoints_are_not_on_the_public_listener(stack: Stack, target: str) -> None:
    """However it is spelled, no service sees it: the proxy answers 404 (or 400) by itself."""
    text = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    answer = raw(stack, text)
    assert answer.split()[1] in (b"404", b"400"), answer
    assert b"X-Instance: proxy" in answer


def test_a_path_that_only_looks_internal_is_the_services(stack: Stack) -> None:
    for target in ("/healthz2", "/api/healthz", "/x/metrics", "/HEALTHZ", "/%2568ealthz"):
        assert stack.get(target).instance.startswith(("web-", "api-")), target


def test_a_request_without_a_host_gets_one(stack: Stack) -> None:
    answer = raw(stack, b"GET /api/ HTTP/1.0\r\n\r\n")
    assert b" 200 OK" in answer
    assert b'"Host": "' in answer


# Errors, limits, static files.


def test_errors_of_the_proxy_are_json_for_programs_and_pages_for_browsers(stack: Stack) -> None:
    program = stack.get("/healthz")
    assert program.headers["Content-Type"] == "application/json"
    assert set(program.json()) == {"error_code", "error_msg", "resolution"}
    browser = stack.get("/healthz", headers={"Accept": "text/html,application/xhtml+xml"})
    assert browser.headers["Content-Type"] == "text/html"
    assert b"<h1>404</h1>" in browser.body
    assert browser.headers["X-Request-ID"].encode() in browser.body


def test_a_body_above_the_limit_is_413_and_never_reaches_a_service(stack: Stack) -> None:
    answer = stack.request("POST", "/api/", body=b"x" * (16 * 1024 + 1))
    assert (answer.status, answer.instance) == (413, "proxy")
    assert answer.json()["error_code"] == "body_too_large"
    assert stack.request("POST", "/api/", body=b"x" * 16 * 1024).status == 200


def test_a_header_above_the_limit_is_400(stack: Stack) -> None:
    answer = stack.get("/api/", headers={"X-Long": "x" * 9000})
    assert (answer.status, answer.instance) == (400, "proxy")
    assert answer.json()["error_code"] == "bad_request"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /static/ HTTP/1.1\r\nHost: x\r\n", 403),
        (b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nIf-Match: "no"\r\n', 412),
        (b"POST /api/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n", 501),
        (b"GET /api/ HTTP/3.0\r\nHost: x\r\n", 505),
        (b"GET /api/ HTTP/1.1\r\n", 400),
    ],
)
def test_every_error_of_the_proxy_has_the_same_form(
    stack: Stack, request_text: bytes, status: int
) -> None:
    answer = raw(stack, request_text + b"Connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert head.count(b"X-Instance: proxy") == 1
    assert set(json.loads(body)) == {"error_code", "error_msg", "resolution"}


def test_static_files_are_served_by_nginx(stack: Stack) -> None:
    folder = Path("services/web/static")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        answer = stack.get(f"/static/{path.relative_to(folder)}")
        assert (answer.status, answer.instance) == (200, "proxy"), path
        assert answer.body == path.read_bytes()
        assert answer.headers["Cache-Control"] == "max-age=3600"
    assert stack.get("/robots.txt").instance == "proxy"
    assert stack.get("/favicon.ico").headers["Content-Type"] == "image/svg+xml"
    assert stack.get("/static/none.css").status == 404
    assert stack.get("/static/../app.py").instance.startswith("web-"), "not a file of the folder"
    assert stack.request("POST", "/static/style.css").status == 405


# Rows.


def test_a_row_holds_every_attempt(stack: Stack) -> None:
    answer = stack.get("/api/x?y=%22&z=%C3%A9", headers={"X-Request-ID": "row-0001"})
    row = row_of(stack, "row-0001")
    assert (row.method, row.target, row.status) == ("GET", "/api/x?y=%22&z=%C3%A9", 200)
    assert (row.complete, row.request_class, row.client) == ("OK", "retryable", "127.0.0.1")
    assert row.instance == answer.instance
    assert row.boot == answer.headers["X-Boot"]
    assert row.bytes == len(answer.body)
    workers = stack.status()["nginx"]["workers"]
    assert row.worker in workers
    assert row.addrs == stack.status()[answer.instance]["address"]


def test_a_hostile_request_cannot_break_the_rows(stack: Stack) -> None:
    """Quotes, control characters, bytes that are no UTF-8, no request at all: a row each."""

    def written() -> int:
        return stack.home.proxy_rows.read_bytes().count(b"\n")

    before = written()
    host = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    raw(stack, b'GET /api/"quoted\\' + host + b"\r\n")
    raw(stack, b"GET /api/\xff\xfe" + host + b"\r\n")
    raw(stack, b"GET /api/" + host + b'Idempotency-Key: "}\x01,{"\xff\r\n\r\n')
    raw(stack, b"\x16\x03\x01\x02\r\n\r\n")
    with socket.create_connection(("127.0.0.1", stack.ports[0])):
        pass
    wait_until("4 rows more", lambda: written() >= before + 4)
    rows = rows_so_far(stack.home.proxy_rows, ProxyRow)
    assert len(rows) == before + 4, "a connection without a request has no row"
    assert rows[-1].status == 400
    lines = stack.home.proxy_rows.read_bytes().decode("utf-8", errors="strict").splitlines()
    assert [json.loads(line)["target"] for line in lines[-3:-1]] == ["/api/\ufffd", "/api/"]
    assert rows[-2].key == '"}\x01,{"\ufffd'


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("zürich".encode(), "zürich"),
        ("💥".encode(), "💥"),
        (b"z\xfcrich", "z\ufffd"),
        (b"\xc0\xaf", "\ufffd"),  # an overlong form
        (b"a\xed\xa0\x80", "a\ufffd"),  # a surrogate
        (b"\xf4\x90\x80\x80", "\ufffd"),  # above U+10FFFF
        ("ü".encode() * 3000 + b"\xe2\x82", "ü" * 3000 + "\ufffd"),
        ("ü".encode() * 3900, "ü" * 3900),
    ],
)
def test_rows_are_utf_8(stack: Stack, sent: bytes, shown: str) -> None:
    before = stack.home.proxy_rows.stat().st_size
    raw(stack, b"GET /api/" + sent + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    def written() -> bytes:
        with stack.home.proxy_rows.open("rb") as rows:
            rows.seek(before)
            return rows.read()

    wait_until("its row", lambda: written().endswith(b"\n"))
    assert json.loads(written().decode("utf-8", errors="strict"))["target"] == f"/api/{shown}"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://other.example/api/", "other.example"),
        ("http://Other.example:8443/api/?http://x/", "Other.example:8443"),
        ("HTTP://[::1]:80/api/", "[::1]:80"),
        ("/api/?http://other.example/", "x:1"),
        ("/api//http://other.example/", "x:1"),
    ],
)
def test_the_host_of_a_target_counts_and_not_the_header(
    stack: Stack, target: str, host: str
) -> None:
    """RFC 9112, 3.2.2: with a whole address as the target the header Host is ignored."""
    text = f"GET {target} HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n"
    head, _, body = raw(stack, text.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    seen = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"]
    assert (seen["Host"], seen["X-Forwarded-Host"]) == (host, host)


# The two classes of request.


def stop(stack: Stack, name: str) -> None:
    Supervisord(stack.home.supervisor_socket).stop(name)


KEYED = {"Idempotency-Key": "k-1"}
CLASSES: tuple[tuple[str, dict[str, str], str], ...] = (
    ("GET", {}, "retryable"),
    ("HEAD", {}, "retryable"),
    ("PUT", {}, "retryable"),
    ("DELETE", {}, "retryable"),
    ("POST", KEYED, "retryable"),
    ("PATCH", KEYED, "retryable"),
    ("POST", {}, "non_retryable"),
    ("PATCH", {}, "non_retryable"),
    ("POST", {"Idempotency-Key": ""}, "non_retryable"),
    ("LOCK", {}, "non_retryable"),
)


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_request_that_kills_its_instance_is_repeated_only_when_harmless(
    tmp_path: Path, balancer: str
) -> None:
    """Whichever instance has its turn, sooner or later it is the one that is told to die."""
    settings = [*ECHO, *ROUND_ROBIN, f"proxy.balancer={balancer}", "services.web.instances=1"]
    with running_stack(tmp_path / "home", settings) as stack:
        for number, (method, headers, request_class) in enumerate(CLASSES):
            wait_until("api-3 is ready", lambda: stack.status()["api-3"]["ready"])
            answer, row = ask_until_it_dies(stack, method, headers, f"retry-{number}")
            assert row.request_class == request_class, method
            assert row.addrs.split(", ")[0] == stack_address(stack, 3)
            if request_class == "retryable":
                assert (answer.status, row.statuses) == (200, "502, 200"), method
            else:
                assert (answer.status, row.statuses) == (502, "502"), method
                assert answer.instance == "proxy"


def ask_until_it_dies(
    stack: Stack, method: str, headers: dict[str, str], name: str
) -> tuple[Answer, ProxyRow]:
    """Ask for the death of api-3 until a row shows that it had been asked."""
    for number in range(16):
        request_id = f"{name}-{number:04}"
        answer = stack.request(
            method, "/api/?die=api-3", headers={**headers, "X-Request-ID": request_id}
        )
        row = row_of(stack, request_id)
        if stack_address(stack, 3) in row.addrs:
            return answer, row
    pytest.fail("round robin did not come to api-3 in 16 requests")


def stack_address(stack: Stack, number: int) -> str:
    return f"127.0.0.1:{stack.ports[number]}"


def test_what_was_never_sent_is_retried_whatever_its_class(tmp_path: Path) -> None:
    """A refused connect: nothing was sent, so even a POST without a key may try elsewhere.

    nginx's own balancer tries who is dead; for the watched one see test_hold.py.
    """
    settings = [*ECHO, *ROUND_ROBIN, "services.api.instances=2", "proxy.balancer=nginx"]
    with running_stack(tmp_path / "home", settings) as stack:
        stop(stack, "api-1")
        answers = [
            stack.request("POST", "/api/", headers={"X-Request-ID": f"refused-{number:04}"})
            for number in range(4)
        ]
        assert [answer.instance for answer in answers] == ["api-2"] * 4
        rows = [row_of(stack, f"refused-{number:04}") for number in range(4)]
        assert sorted(row.statuses for row in rows) == ["200", "200", "502, 200", "502, 200"]


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_short_death_does_not_take_an_instance_out(tmp_path: Path, balancer: str) -> None:
    """max_fails is off: as soon as it listens again it gets its turn again, not 10 s later."""
    settings = [*ECHO, *ROUND_ROBIN, f"proxy.balancer={balancer}"]
    with running_stack(tmp_path / "home", settings) as stack:
        stop(stack, "api-1")
        assert {stack.get("/api/").instance for _ in range(8)} == {"api-2", "api-3", "api-4"}
        Supervisord(stack.home.supervisor_socket).start("api-1")
        wait_until("api-1 is ready", lambda: stack.status()["api-1"]["ready"])
        # Of 8 requests one of 2 workers has at least 4, and gives them to 4 instances.
        assert {stack.get("/api/").instance for _ in range(8)} == {
            "api-1", "api-2", "api-3", "api-4",
        }  # fmt: skip


def test_a_row_that_is_no_row_is_named() -> None:
    with pytest.raises(msgspec.DecodeError, match=r"stack\.toml:1: "):
        list(read_rows(Path("stack.toml"), ProxyRow))
