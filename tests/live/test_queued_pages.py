"""A page and all that it asks for wait no longer than one request may."""

from pathlib import Path

import pytest

from bulkhead.records import ProxyRow
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.testing import wait_until
from tests.support.rows import rows_so_far
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.live

HOLD_S = 2.0
SETTINGS = (
    "services.api.instances=2", "services.web.instances=2", "services.web.workers=1",
    f"proxy.queue_timeout_s={HOLD_S}",
)  # fmt: skip


def stop(stack: Stack, service: str) -> None:
    """Stop both instances of a service, as an operator does, and wait until the watchdog knows."""
    names = {f"{service}-{number}" for number in (1, 2)}
    supervisord = Supervisord(stack.home.supervisor_socket)
    for name in names:
        supervisord.stop(name)

    def known() -> bool:
        return all(stack.status()[name]["watched"] == "down" for name in names)

    wait_until("the watchdog knows", known)


@pytest.mark.parametrize(("dead", "asked"), [("api", "/"), ("web", "/api/v1/fanout?n=2")])
def test_what_a_page_asks_for_waits_once(tmp_path: Path, dead: str, asked: str) -> None:
    """The page is tried at both instances, and what the second asks for has waited already."""
    with running_stack(tmp_path / "home", SETTINGS) as stack:
        stop(stack, dead)
        answer = stack.get(asked, headers={"X-Request-ID": "the-page"})
        assert answer.status in (502, 503)

        def rows() -> list[ProxyRow] | None:
            found = rows_so_far(stack.home.proxy_rows, ProxyRow)
            return found if any(row.id == "the-page" for row in found) else None

        written = wait_until("the page's row", rows)
        waits = [row.queued for row in written if row.id.startswith("the-page.")]
        assert max(waits) == pytest.approx(HOLD_S, abs=0.5)
        (page,) = [row for row in written if row.id == "the-page"]
        assert page.took < 1.75 * HOLD_S
