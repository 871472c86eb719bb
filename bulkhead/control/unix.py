"""HTTP over a unix socket: for supervisord's XML-RPC and for nginx's internal listener."""

import socket
import xmlrpc.client
from http.client import HTTPConnection
from pathlib import Path


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
    """XML-RPC's transport over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: object) -> HTTPConnection:
        """One connection a call: supervisord's loop closes them as it likes."""
        del host  # it is always the socket
        return UnixConnection(self._path, self._timeout_s)
