"""In how many pieces an answer leaves its server."""

import socket
import sys

DATA_SEGMENTS_IN = slice(152, 156)  # tcpi_data_segs_in in struct tcp_info (linux/tcp.h)


def ask_counted(port: int, method: str, target: str) -> tuple[bytes, bytes, int]:
    """Header and body of an answer, and how many TCP segments with data it took.

    Over loopback a segment holds 64 KB, so a small answer that was sent by one call is one segment.
    """
    lines = (f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", "", "")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    header, _, body = answer.partition(b"\r\n\r\n")
    return header, body, int.from_bytes(info[DATA_SEGMENTS_IN], sys.byteorder)
