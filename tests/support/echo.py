"""The smallest service that a stack can run: it says who it is, and can be told to be slow.

Policy tests use it instead of services/api so that a distribution is nginx's doing alone.
`GET /<anything>` answers 200 with the identity headers after ECHO_DELAY_MS (only in the instance
that ECHO_SLOW names, when that is set). `?die=api-1` kills the instance of that name by SIGKILL
once it has read the request.
"""

import asyncio
import os
import signal

import tornado.web

from services.common.identity import current
from services.common.notify import Notifier


class Echo(tornado.web.RequestHandler):
    """Answers everything."""

    async def get(self) -> None:
        who = current()
        if self.get_query_argument("die", "") == who.instance:
            os.kill(who.pid, signal.SIGKILL)
        slow = os.environ.get("ECHO_SLOW", who.instance) == who.instance
        if slow and not self.request.path.endswith("readyz"):
            await asyncio.sleep(int(os.environ.get("ECHO_DELAY_MS", "0")) / 1000)
        for name, value in who.headers().items():
            self.set_header(name, value)
        self.write({"instance": who.instance, "headers": dict(self.request.headers)})

    head = get
    post = get
    put = get
    delete = get
    patch = get
    lock = get
    SUPPORTED_METHODS = (*tornado.web.RequestHandler.SUPPORTED_METHODS, "LOCK")


async def main() -> None:
    """Serve until killed."""
    host, _, port = os.environ["BULKHEAD_ADDRESS"].rpartition(":")
    tornado.web.Application([(r".*", Echo)]).listen(int(port), host)
    Notifier.from_environment().ready(asyncio.get_running_loop().call_later)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
