"""A real HTTP server in the place of the proxy and the web service behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web(BaseHTTPRequestHandler):
    """Answers as the web service does; every call after `Web.good` of them fails."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str | None]]
    good: int

    def do_GET(self) -> None:
        Web.seen.append((self.path, self.headers["X-Request-ID"]))
        self.send_response(200 if len(Web.seen) <= Web.good else 503)
        self.send_header("X-Instance", "web-1")
        self.send_header("X-Boot", "7.8")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class WebServer(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@contextmanager
def web(good: int = 10**6) -> Iterator[str]:
    Web.seen, Web.good = [], good
    with WebServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
