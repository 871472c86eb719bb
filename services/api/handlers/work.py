"""GET /api/v1/work: a request that waits, burns CPU and answers with a body, as much as asked."""

import asyncio
import time

from tornado.iostream import StreamClosedError

from services.api.handlers.base import BaseHandler
from services.api.inputs import read_integer, read_query

MAX_MS = 60_000
MAX_CPU_MS = 10_000
MAX_BYTES = 16 * 1024 * 1024
# One write to the socket: a slow client holds this much of a body, not all of it.
CHUNK = bytes(256 * 1024)


class Work(BaseHandler):
    """Work of a size that the client chooses."""

    async def get(self) -> None:
        """Wait `ms`, burn `cpu_ms` of CPU, answer with `bytes` octets."""
        arguments = read_query(self.request, ("ms", "cpu_ms", "bytes"))
        wait_ms = read_integer(arguments, "ms", 0, MAX_MS) or 0
        cpu_ms = read_integer(arguments, "cpu_ms", 0, MAX_CPU_MS) or 0
        size = read_integer(arguments, "bytes", 0, MAX_BYTES) or 0
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
        burn(cpu_ms / 1000)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", size)
        await self._send(size if self.request.method == "GET" else 0)

    head = get

    async def _send(self, size: int) -> None:
        try:
            for start in range(0, size, len(CHUNK)):
                self.write(CHUNK[: size - start])
                await self.flush()
        except StreamClosedError:
            return  # the client has left


def burn(seconds: float) -> None:
    """Use `seconds` of CPU on the calling thread: on the event loop this blocks, which is meant."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
