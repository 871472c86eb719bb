"""An instance that does as it is asked, for tests of the proxy alone.

What it is asked is in the query: `wait=SECONDS` before the answer, `bytes=N` in its body,
`status=N`, and `die=NAME`: the one of that name is killed once it has read the request, but only in
its first life; with `poison=1` everyone is killed, always; `before=SECONDS` is waited before that.
With `cut=1` the answer ends in its middle. Each execution is a JSON line in a file, written before
anything else: `name`, `now` (how many it has at this moment), `method`, `path` and `body` (its
length).
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import tornado.web


class Obey(tornado.web.RequestHandler):
    """Answers everything."""

    name = ""
    book = Path()
    now = 0

    async def get(self) -> None:
        """Write it down first, as a service does."""
        Obey.now += 1
        try:
            await self._do()
        finally:
            Obey.now -= 1

    async def _do(self) -> None:
        asked = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        line = {
            "name": self.name,
            "now": self.now,
            "method": self.request.method,
            "path": self.request.path,
            "body": len(self.request.body),
        }
        with self.book.open("a") as file:
            file.write(json.dumps(line) + "\n")
        await asyncio.sleep(float(asked.get("before", "0")))
        if "poison" in asked or (asked.get("die") == self.name and self._is_first_life()):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(float(asked.get("wait", "0")))
        self.set_status(int(asked.get("status", "200")))
        self.set_header("X-Instance", self.name)
        if "cut" in asked:
            self.set_header("Content-Length", asked["bytes"])
            self.write(b"x" * 100_000)
            await self.flush()
            self.request.connection.detach().close()  # type: ignore[union-attr]
            return
        self.finish(b"x" * int(asked.get("bytes", "0")))

    def _is_first_life(self) -> bool:
        died = self.book.with_name(f"{self.name}.died")
        if died.exists():
            return False
        died.touch()
        return True

    head = get
    post = get
    put = get
    delete = get
    patch = get
    move = get

    SUPPORTED_METHODS = (*tornado.web.RequestHandler.SUPPORTED_METHODS, "MOVE")


async def main(name: str, port: int, book: Path) -> None:
    """Serve until killed."""
    Obey.name, Obey.book = name, book
    tornado.web.Application([(r".*", Obey)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
