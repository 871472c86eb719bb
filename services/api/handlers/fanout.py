"""GET /api/v1/fanout: call the web service n times at once, through the proxy, and join."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from services.api.errors import fanout_incomplete
from services.api.handlers.base import BaseHandler
from services.api.inputs import read_integer, read_query

if TYPE_CHECKING:
    from tornado.httpclient import AsyncHTTPClient

MAX_CALLS = 32
# The client queues calls beyond this, and the time in its queue counts to their timeouts.
MAX_CLIENTS = 32 * MAX_CALLS
CONNECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_REQUEST_ID = 128


class Fanout(BaseHandler):
    """Several sub-requests at once, answered as one."""

    async def get(self) -> None:
        """Answer who answered each of the `n` calls.

        Raises:
            ApiError: 502, some call failed.
        """
        n = read_integer(read_query(self.request, ("n",)), "n", 1, MAX_CALLS) or 1
        client = self._client()
        calls = [self._call(client, child_id(self.request_id, i)) for i in range(1, n + 1)]
        answers = []
        causes: Counter[str] = Counter()
        for answer in await asyncio.gather(*calls):
            if isinstance(answer, str):
                causes[answer] += 1
            else:
                answers.append(answer)
        if causes:
            raise fanout_incomplete(
                causes.total(), n, [f"{count} x {cause}" for cause, count in causes.items()]
            )
        self.finish(msgspec.json.encode({"n": n, "answers": answers, "failed": 0}))

    head = get

    def _client(self) -> "AsyncHTTPClient":
        # Imported and made when first needed: instances boot faster, and many never fan out.
        from tornado.httpclient import AsyncHTTPClient

        service = self.service
        if service.web_client is None:
            service.web_client = AsyncHTTPClient(
                force_instance=True, max_clients=MAX_CLIENTS, max_body_size=MAX_ANSWER_BYTES
            )
        return service.web_client

    async def _call(self, client: "AsyncHTTPClient", request_id: str) -> dict[str, object] | str:
        """Who answered one call; a text names the reason when no good answer came."""
        try:
            answer = await client.fetch(
                f"{self.service.settings.proxy_url}/whoami",
                headers={"X-Request-ID": request_id},
                connect_timeout=CONNECT_TIMEOUT_S,
                request_timeout=REQUEST_TIMEOUT_S,
                follow_redirects=False,
                raise_error=False,
            )
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if answer.code != 200:
            return f"status {answer.code}"
        return {
            "instance": answer.headers.get("X-Instance"),
            "boot": answer.headers.get("X-Boot"),
            "status": answer.code,
        }


def child_id(parent: str, number: int) -> str:
    """The request id of sub-request `number`: the parent's, cut so that the whole stays legal."""
    suffix = f".{number}"
    return parent[: MAX_REQUEST_ID - len(suffix)] + suffix
