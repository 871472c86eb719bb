"""A small stack in one process: pages, session and ledger as the services' contract says them.

`faults` names the things that it then does wrong.
"""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = b'<html><link rel="stylesheet" href="/static/style.css?v=1"></html>\n'


@dataclass
class Stub:
    """What the server holds and has seen. `url` is where it listens."""

    url: str
    faults: frozenset[str]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(*faults: str) -> Iterator[Stub]:
    """A stub that serves until the end of the context."""
    server = Server(("127.0.0.1", 0), Handler)
    server.stub = Stub(f"http://127.0.0.1:{server.server_address[1]}", frozenset(faults))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # an open loop that catches up opens many connections at once
    stub: Stub


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def handle_any(self) -> None:
        stub = self.server.stub
        size = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(size)) if size else {}
        stub.ids.append(self.headers["X-Request-ID"])
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.startswith("/api/v1/entries"):
            with stub.lock:
                self.entries(path.removeprefix("/api/v1/entries").strip("/"), body)
        elif path == "/api/v1/whoami":
            self.answer({"instance": "api-9" if "instance" in stub.faults else "api-1"})
        elif path == "/api/v1/work":
            self.answer(b"x" * int(query["bytes"][0]))
        elif path == "/api/v1/fanout":
            failed = 1 if "calls" in stub.faults else 0
            self.answer({"n": int(query["n"][0]), "answers": [], "failed": failed})
        elif path == "/session":
            visits = 1 if "session" in stub.faults else self.visits() + 1
            self.answer({"visits": visits}, cookie=f"visits={visits}; HttpOnly; Path=/")
        elif path in ("/", "/about"):
            counted = f"visits={self.visits() + 1}; HttpOnly; Path=/" if path == "/" else ""
            self.answer(PAGE[:-8] if "page" in stub.faults else PAGE, cookie=counted)
        elif path == "/static/style.css":
            self.answer(b"body {}")
        else:
            self.answer({"error_code": "not_found"}, 404)

    def visits(self) -> int:
        return int((self.headers.get("Cookie") or "visits=0").rpartition("=")[2])

    def entries(self, entry_id: str, body: dict[str, Any]) -> None:
        stub = self.server.stub
        if self.command != "GET":
            stub.keys.append(self.headers["Idempotency-Key"])
        if self.command == "GET" and not entry_id:
            page = {"entries": list(stub.entries.values())[:20], "next_cursor": None}
            return self.answer(b"entries:" if "text" in stub.faults else page)
        if self.command == "POST":
            entry_id = uuid.uuid4().hex
            stub.entries[entry_id] = {"id": entry_id, "memo": "", "version": 1, **body}
        elif self.command == "DELETE":
            del stub.entries[entry_id]
            return self.answer(b"", 204)
        elif self.command in ("PUT", "PATCH") and "write" not in stub.faults:
            entry = stub.entries[entry_id]
            stub.entries[entry_id] = entry | body | {"version": entry["version"] + 1}
        if "silent" in stub.faults and self.command == "PATCH":
            self.close_connection = True
            return None
        location = f"/api/v1/entries/{entry_id}" if self.command == "POST" else ""
        entry = stub.entries[entry_id]
        if "other" in stub.faults and not location:
            entry = entry | {"id": "another"}
        return self.answer(entry, 201 if location else 200, location=location)

    def answer(
        self,
        content: dict[str, Any] | bytes,
        status: int = 200,
        cookie: str = "",
        location: str = "",
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if "nobody" not in self.server.stub.faults:
            self.send_header("X-Instance", "api-1")
        self.send_header("X-Boot", "7.42")
        self.send_header("X-Request-ID", self.headers["X-Request-ID"])
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        if location:
            self.send_header("Location", location)
        if isinstance(content, dict) and "version" in content:
            self.send_header("ETag", f'"{content["version"]}"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 (the names http.server asks for)

    def log_message(self, *_: object) -> None:
        """Nothing to log."""
