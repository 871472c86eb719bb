"""A small real HTTP server that speaks the ledger API's contract and remembers what it was asked.

It stands where the proxy stands: the web service reaches it at BULKHEAD_PROXY_URL. It can be told
to be slow, to answer with an error, or to break the connection.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; `connection` numbers the connections."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    connection: int


@dataclass
class Orders:
    """How the stub is to answer; the default is: correctly and at once.

    `broken` is "reset" (no answer at all), "cut" (half a body) or "drip" (a body a byte at a time).
    """

    delay_s: float = 0.0
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    broken: str = ""


class LedgerStub:
    """The server; a context manager. `reset` forgets everything between two tests."""

    def __init__(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self) -> None:
                super().setup()
                with stub.lock:
                    stub.connections += 1
                    self.number = stub.connections

            def do_GET(self) -> None:
                stub.serve(self, self.number)

            def do_POST(self) -> None:
                stub.serve(self, self.number)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # the default of 5 would make a burst of calls wait for 1 s

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that left early is part of some tests."""

        self.lock = threading.Lock()
        self.connections = 0
        self.reset()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LedgerStub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reset(self) -> None:
        with self.lock:
            self.asked: list[Asked] = []
            self.entries: list[dict[str, Any]] = []
            self.keys: dict[str, tuple[Any, dict[str, Any]]] = {}
            self.orders = Orders()

    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def fill(self, *accounts: str) -> None:
        for amount, account in enumerate(accounts, 1):
            self.apply({"account": account, "amount": amount, "memo": f"memo {amount}"})

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        number = len(self.entries) + 1
        moment = f"2026-11-20T16:06:{number % 60:02}.123456+00:00"
        entry = {"id": f"e{number}", "version": 1, "created_at": moment, "updated_at": moment}
        self.entries.append(entry | body)
        return entry | body

    def serve(self, handler: BaseHTTPRequestHandler, connection: int) -> None:
        """Answer one request as ordered."""
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(handler.headers.get("Content-Length", "0"))
        body = json.loads(handler.rfile.read(length)) if length else None
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, parts.path, query, headers, body, connection)
        with self.lock:
            orders = self.orders
            self.asked.append(asked)
        time.sleep(orders.delay_s)
        if orders.broken == "reset":
            handler.close_connection = True
            return
        extra: dict[str, str] = {}
        if orders.status:
            status, content = orders.status, orders.body
        else:
            with self.lock:
                status, answer, extra = self.answer(asked)
            content = json.dumps(answer).encode()
        handler.send_response(status)
        identity = {"X-Instance": "api-7", "X-Boot": "77.7", "Content-Type": "application/json"}
        for name, value in (identity | extra | orders.headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        self.send(handler, content, orders)

    def send(self, handler: BaseHTTPRequestHandler, content: bytes, orders: Orders) -> None:
        if orders.broken == "cut":
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
        elif orders.broken == "drip":
            for byte in content:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.1)
        else:
            handler.wfile.write(content)

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and further headers that the contract asks for."""
        if asked.path == "/api/v1/whoami":
            return 200, {"service": "api", "instance": "api-7"}, {}
        if asked.path != "/api/v1/entries":
            return 404, refusal("not_found", asked.path), {}
        if asked.method == "GET":
            return self.list(asked.query)
        key = asked.headers["idempotency-key"]
        if key in self.keys:
            first, entry = self.keys[key]
            if first != asked.body:
                return 422, refusal("idempotency_key_reused", "The key was used before."), {}
            return 201, entry, {"Idempotent-Replayed": "true"}
        entry = self.apply(asked.body)
        self.keys[key] = (asked.body, entry)
        return 201, entry, {}

    def list(self, query: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, str]]:
        account = query.get("account")
        found = [entry for entry in self.entries if account in (None, entry["account"])]
        start, limit = int(query.get("cursor", "0")), int(query["limit"])
        more = start + limit < len(found)
        page = {"entries": found[start : start + limit]}
        return 200, page | {"next_cursor": str(start + limit) if more else None}, {}


def refusal(code: str, message: str) -> dict[str, str]:
    return {"error_code": code, "error_msg": message, "resolution": "Do something else."}
