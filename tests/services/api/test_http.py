"""What every answer has, and how requests are refused that no resource ever sees."""

import gzip
import json
import socket
from pathlib import Path

import pytest

from tests.services.api.processes import Api, Fleet, read_answer
from tests.support.http import Answer
from tests.support.segments import ask_counted

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"
LIMIT = 1024 * 1024
JSON = "Content-Type: application/json"


def head(method: str, target: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


def assert_error(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()
    assert list(error) == ["error_code", "error_msg", "resolution"]
    assert error["error_code"] == code
    assert all(error.values())


@pytest.mark.parametrize("target", [ENTRIES, "/api/v1/whoami", "/nothing", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_leaves_as_a_whole(api: Api, method: str, target: str) -> None:
    """An instance that is killed has answered, or not at all: then the proxy can ask another."""
    header, body, segments = ask_counted(api.port, method, target)
    assert header.startswith(b"HTTP/1.1 ")
    assert (len(body) > 0) == (method == "GET")
    assert segments == 1


def test_whoami_names_the_process(api: Api) -> None:
    answer = api.get("/api/v1/whoami", X_Request_ID="0123456789")
    boot = f"{api.process.pid}.{_start_ticks(api.process.pid)}"
    assert answer.json() == {
        "service": "api",
        "instance": "api-1",
        "pid": api.process.pid,
        "boot": boot,
        "request_id": "0123456789",
    }
    assert answer.headers["X-Boot"] == boot


def _start_ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("GET", f"{ENTRIES}/unknown"),
        ("HEAD", ENTRIES),
        ("OPTIONS", ENTRIES),
        ("TRACE", ENTRIES),
        ("POST", "/api/v1/whoami"),
        ("POST", ENTRIES),
        ("GET", "/api/v1/work?ms=x"),
    ],
)
def test_every_answer_names_its_process(api: Api, method: str, target: str) -> None:
    given = api.request(method, target, headers={"X-Request-ID": "given-by-client"})
    assert given.headers["X-Instance"] == "api-1"
    assert given.headers["X-Boot"].startswith(f"{api.process.pid}.")
    assert given.headers["X-Request-ID"] == "given-by-client"
    made = api.request(method, target, headers={"X-Request-ID": "short"})
    assert len(made.headers["X-Request-ID"]) == 32


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("target", ["/", "/nothing", "/api/v1", "/api/v1/entries/a/b", "/healthz/"])
def test_an_unknown_path_is_404(api: Api, method: str, target: str) -> None:
    answer = api.request(method, target)
    assert answer.status == 404
    if method != "HEAD":
        assert_error(answer, 404, "path_not_found")


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/api/v1/whoami", "GET, HEAD, OPTIONS"),
        (ENTRIES, "GET, HEAD, POST, OPTIONS"),
        (f"{ENTRIES}/e", "GET, HEAD, DELETE, PATCH, PUT, OPTIONS"),
    ],
)
def test_allow_is_told_by_405_and_options(api: Api, target: str, allowed: str) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"}
    for method in methods - set(allowed.split(", ")):
        answer = api.request(method, target)
        assert_error(answer, 405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == set(allowed.split(", ")), method
    options = api.request("OPTIONS", target)
    assert (options.status, options.body) == (204, b"")
    assert set(options.headers["Allow"].split(", ")) == set(allowed.split(", "))


@pytest.mark.parametrize("target", [ENTRIES, "/healthz", "/api/v1/work?bytes=5000000", "/nothing"])
def test_head_is_get_without_a_body(api: Api, target: str) -> None:
    get, without = api.get(target), api.request("HEAD", target)
    assert (without.status, without.body) == (get.status, b"")
    for name in ("Content-Type", "Content-Length"):
        assert without.headers[name] == get.headers[name]


@pytest.mark.parametrize("target", ["/api/v1/whoami", "/api/v1/openapi.json", f"{ENTRIES}/e"])
def test_arguments_where_there_are_none_are_refused(api: Api, target: str) -> None:
    assert_error(api.get(f"{target}?a=1"), 400, "query_malformed")


def test_a_body_at_the_limit_is_read_and_one_above_is_413(api: Api) -> None:
    draft = json.dumps({"account": "a", "amount": 1}).encode()
    at_limit = draft + b" " * (LIMIT - len(draft))
    headers = {"Content-Type": "application/json"}
    assert api.request("POST", ENTRIES, at_limit, headers).status == 201
    assert_error(api.request("POST", ENTRIES, at_limit + b" ", headers), 413, "body_too_large")


def test_a_connection_outlives_a_413(api: Api) -> None:
    """The body is read to its end, so the client surely gets the answer and can go on."""
    connection = api.connect()
    connection.request("POST", ENTRIES, b"x" * (8 * LIMIT))
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error_code"]) == (413, "body_too_large")
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_chunked_body_is_counted(api: Api) -> None:
    small = b'{"account": "a", "amount": 1}'
    chunked = head("POST", ENTRIES, JSON, "Transfer-Encoding: chunked")
    assert api.send(chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (len(small), small)).status == 201
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = api.send(chunked, chunk * 17, b"0\r\n\r\n")
    assert_error(answer, 413, "body_too_large")


def test_a_client_that_asks_first_is_told_at_once(api: Api) -> None:
    length = f"Content-Length: {LIMIT + 1}"
    answer = api.send(head("POST", ENTRIES, JSON, length, "Expect: 100-continue"))
    assert_error(answer, 413, "body_too_large")
    assert answer.headers["Connection"] == "close"


def test_a_huge_body_is_not_awaited(api: Api) -> None:
    answer = api.send(head("POST", ENTRIES, JSON, f"Content-Length: {10**15}"))
    assert_error(answer, 413, "body_too_large")


def test_no_more_of_a_body_than_the_limit_is_kept(fleet: Fleet) -> None:
    api = fleet.start()
    status = Path(f"/proc/{api.process.pid}/status")

    def peak_kb() -> int:
        return int(status.read_text().partition("VmHWM:")[2].split()[0])

    before = peak_kb()
    piece = b" " * LIMIT
    whole = head("POST", ENTRIES, JSON, f"Content-Length: {60 * LIMIT}")
    assert_error(api.send(whole, *[piece] * 60), 413, "body_too_large")
    chunked = head("POST", ENTRIES, JSON, "Transfer-Encoding: chunked")
    pieces = [b"%x\r\n%s\r\n" % (LIMIT, piece)] * 60
    assert_error(api.send(chunked, *pieces, b"0\r\n\r\n"), 413, "body_too_large")
    assert peak_kb() - before < 8 * 1024


def test_the_limit_is_a_setting(fleet: Fleet) -> None:
    api = fleet.start(max_body_kb="1")
    assert_error(api.request("POST", ENTRIES, b" " * 1025), 413, "body_too_large")
    assert "1024 bytes" in api.get("/api/v1/openapi.json").json()["info"]["description"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json-patch+json"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_a_body_that_is_not_plain_json_is_415(api: Api, headers: dict[str, str]) -> None:
    body = b'{"account": "a", "amount": 1}'
    if "Content-Encoding" in headers:
        body = gzip.compress(body)
    assert_error(api.request("POST", ENTRIES, body, headers), 415, "media_type_unsupported")


def test_parameters_of_the_media_type_do_not_matter(api: Api) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = api.request("POST", ENTRIES, b'{"account": "a", "amount": 1}', headers)
    assert answer.status == 201


@pytest.mark.parametrize(
    "message",
    [
        head("GET", "/healthz", "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("GET", "/healthz", "Content-Length: -5"),
        head("GET", "/healthz", "Content-Length: 5, 6"),
        head("GET", "/healthz", "Content-Length: " + "9" * 5000),
        head("GET", "/healthz", "Transfer-Encoding: gzip, chunked"),
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
        head("GET", "/api/v1/whoami?" + "&".join("a" * 2000)),
        head("GET", f"{ENTRIES}/%ff"),
    ],
)
def test_a_request_that_breaks_http_gets_a_proper_400(api: Api, message: bytes) -> None:
    answer = api.send(message)
    assert_error(answer, 400, "request_malformed")
    assert answer.headers["X-Instance"] == "api-1"


@pytest.mark.parametrize(
    "message",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\x01b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\x7fb\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX A: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /healthz\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/7.0\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_what_tornado_refuses_by_itself_is_a_proper_400_too(api: Api, message: bytes) -> None:
    answer = api.send(message)
    assert_error(answer, 400, "request_malformed")
    assert answer.headers["X-Instance"] == "api-1"
    assert answer.headers["X-Boot"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Connection"] == "close"
    assert api.get("/healthz").status == 200


def test_a_fault_of_the_service_is_a_500_with_the_request_id(fleet: Fleet) -> None:
    """A table is dropped behind the back of the service: nothing it could foresee."""
    api = fleet.start()
    fleet.expect_faults = True
    with fleet.database() as database:
        database.execute("DROP TABLE entries")
    answer = api.get(ENTRIES, X_Request_ID="the-faulty-one")
    assert_error(answer, 500, "internal_error")
    assert "the-faulty-one" in answer.json()["error_msg"]
    assert "no such table" in api.log.read_text()
    assert api.get("/healthz").status == 200


def test_two_requests_in_one_packet_are_answered_in_order(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=15) as stream:
        stream.sendall(head("GET", "/api/v1/work?ms=50&bytes=3") + head("GET", "/healthz"))
        assert read_answer(stream).body == bytes(3)
