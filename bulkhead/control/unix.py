"""HTTP over a unix socket: for supervisord's XML-RPC and for nginx's internal listener."""

import socket
import xmlrpc.client
from http.client import HTTPConnection
from pathlib import Path
from typing import Any


class UnixConnection(HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC's transport over a unix socket: one connection and one send a call."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def request(
        self, host: Any, handler: str, request_body: Any, verbose: bool = False
    ) -> tuple[Any, ...]:
        """Send one call. The base class would send it again when the connection breaks."""
        try:
            return self.single_request(host, handler, request_body, verbose)
        finally:
            self.close()

    def make_connection(self, host: Any) -> HTTPConnection:
        """The connection, kept where `close` finds it."""
        connection = UnixConnection(self._path, self._timeout_s)
        self._connection = host, connection
        return connection
