import time

import pytest

from services.common.identity import REQUEST_ID
from tests.services.web.browser import Browser
from tests.services.web.conftest import StartWeb
from tests.services.web.ledger_stub import LedgerStub, Orders

pytestmark = pytest.mark.live


def test_a_call_carries_the_request_id_with_a_number(client: Browser, ledger: LedgerStub) -> None:
    client.get("/", {"X-Request-ID": "parent-request"})
    assert ledger.asked[0].headers["x-request-id"] == "parent-request.1"


def test_a_call_for_the_longest_request_id_stays_well_formed(
    client: Browser, ledger: LedgerStub
) -> None:
    client.get("/", {"X-Request-ID": "r" * 128})
    sent = ledger.asked[0].headers["x-request-id"]
    assert REQUEST_ID.fullmatch(sent)
    assert sent.endswith("r.1")


def test_each_call_has_a_connection_of_its_own(client: Browser, ledger: LedgerStub) -> None:
    for _ in range(3):
        client.get("/")
    assert len({asked.connection for asked in ledger.asked}) == 3
    assert {asked.headers["connection"] for asked in ledger.asked} == {"close"}


def test_a_broken_connection_is_not_tried_again(client: Browser, ledger: LedgerStub) -> None:
    ledger.orders = Orders(broken="reset")
    assert client.get("/").status == 503
    assert len(ledger.asked) == 1


@pytest.mark.parametrize(
    ("orders", "status", "code"),
    [
        (Orders(status=503), 503, "ledger_unavailable"),
        (Orders(status=502), 503, "ledger_unavailable"),
        (Orders(status=504), 503, "ledger_unavailable"),
        (Orders(broken="reset"), 503, "ledger_unavailable"),
        (Orders(broken="cut"), 503, "ledger_unavailable"),
        (Orders(delay_s=1.5), 503, "ledger_timeout"),
        (Orders(status=200, body=b"{" + b" " * 60 + b"}", broken="drip"), 503, "ledger_timeout"),
        (Orders(status=500, body=b'{"error_code": "internal_error"}'), 502, "ledger_broken"),
        (Orders(status=200, body=b"<html>"), 502, "ledger_broken"),
        (Orders(status=200, body=b"[]"), 502, "ledger_broken"),
        (Orders(status=200, body=b"{}"), 502, "ledger_broken"),
        (Orders(status=200, body=b'{"entries": [1], "next_cursor": null}'), 502, "ledger_broken"),
        (Orders(status=200, body=b" " * (4 * 1024 * 1024 + 1)), 502, "ledger_broken"),
        (Orders(status=302, body=b"{}"), 502, "ledger_broken"),
        (Orders(status=400, body=b'{"error_code": "bad_cursor"}'), 400, "bad_cursor"),
        (Orders(status=404, body=b"<html>"), 502, "ledger_broken"),
    ],
)
def test_a_failing_api_becomes_a_clear_answer(
    client: Browser, ledger: LedgerStub, orders: Orders, status: int, code: str
) -> None:
    ledger.orders = orders
    started = time.monotonic()
    answer = client.get("/")
    assert time.monotonic() - started < 1.4, "the time limit of the call is 1 s"
    assert answer.status == status
    problem = answer.json()
    assert problem["error_code"] == code
    assert problem["error_msg"]
    assert problem["resolution"]
    assert (answer.headers["Retry-After"] is not None) == (status == 503)


@pytest.mark.parametrize(("given", "told"), [("7", "7"), ("999", "60"), ("soon", "1"), ("0", "1")])
def test_the_pause_that_the_api_asks_for_is_passed_on(
    client: Browser, ledger: LedgerStub, given: str, told: str
) -> None:
    ledger.orders = Orders(status=503, headers={"Retry-After": given})
    assert client.get("/").headers["Retry-After"] == told


def test_a_browser_gets_a_page_when_the_api_is_down(start_web: StartWeb, ports: list[int]) -> None:
    web = start_web(BULKHEAD_PROXY_URL=f"http://127.0.0.1:{ports[0]}")  # where nobody listens
    answer = Browser(web.port).get("/?account=bob")
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert "The ledger does not answer at the moment" in answer.text
    assert 'href="/?account=bob"' in answer.text, "a link to try again"
    assert Browser(web.port).get("/whoami").status == 200
    assert Browser(web.port).get("/readyz").status == 200
