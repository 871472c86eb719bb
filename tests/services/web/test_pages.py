import re

import pytest

from tests.services.web.browser import Browser
from tests.services.web.ledger_stub import LedgerStub, Orders

pytestmark = pytest.mark.live


def test_the_ledger_page_lists_entries_and_who_answered(
    browser: Browser, ledger: LedgerStub
) -> None:
    ledger.fill("alice", "bob")
    page = browser.get("/")
    assert page.status == 200
    for shown in ("alice", "bob", "memo 2", "2026-11-20 16:06:02", "api-7", "web-1"):
        assert shown in page.text
    assert page.headers["X-Boot"] in page.text


def test_the_pages_lead_through_the_whole_ledger(browser: Browser, ledger: LedgerStub) -> None:
    ledger.fill(*["alice"] * 45)
    amounts: list[int] = []
    target = "/?account=alice"
    for _ in range(3):
        text = browser.get(target).text
        amounts += map(int, re.findall(r'<td class="number">(\d+)</td>', text))
        following = re.search(r'rel="next" href="([^"]+)"', text)
        target = following[1].replace("&amp;", "&") if following else ""
    assert amounts == list(range(1, 46))
    assert target == ""


def test_the_account_filter_reaches_the_api(browser: Browser, ledger: LedgerStub) -> None:
    ledger.fill("alice", "bob")
    page = browser.get("/?account=bob")
    assert ledger.asked[-1].query["account"] == "bob"
    assert "memo 2" in page.text
    assert "memo 1" not in page.text


def test_an_empty_ledger_says_so(browser: Browser) -> None:
    assert "The ledger is empty" in browser.get("/").text
    assert "bob has no entries" in browser.get("/?account=bob").text


def test_what_users_wrote_is_escaped(browser: Browser, ledger: LedgerStub) -> None:
    ledger.apply({"account": "eve", "amount": 1, "memo": "<script>alert(1)</script>"})
    text = browser.get("/").text
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_filter_that_can_match_nothing_is_explained(browser: Browser, ledger: LedgerStub) -> None:
    page = browser.get("/?account=a%20b")
    assert page.status == 422
    assert "&#39;a b&#39; cannot be an account." in page.text
    assert ledger.asked == []


def test_the_about_page_names_both_processes(browser: Browser) -> None:
    page = browser.get("/about")
    assert page.status == 200
    assert "api-7" in page.text
    assert page.headers["X-Boot"] in page.text


def test_the_about_page_works_without_the_api(browser: Browser, ledger: LedgerStub) -> None:
    ledger.orders = Orders(status=503)
    page = browser.get("/about")
    assert page.status == 200
    assert "no instance of the API is up" in page.text


def test_whoami_names_the_process_and_sets_no_cookie(client: Browser) -> None:
    answer = client.get("/whoami", {"X-Request-ID": "my-request-1"})
    body = answer.json()
    assert {name: body[name] for name in ("service", "instance", "boot", "request_id")} == {
        "service": "web",
        "instance": "web-1",
        "boot": answer.headers["X-Boot"],
        "request_id": "my-request-1",
    }
    assert body["boot"].startswith(f"{body['pid']}.")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/static/style.css", "text/css"),
        ("/static/favicon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
        ("/robots.txt", "text/plain"),
    ],
)
def test_files_are_served_without_the_proxy_too(client: Browser, target: str, kind: str) -> None:
    answer = client.ask("HEAD", target)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(kind)


def test_a_page_names_only_files_that_exist(browser: Browser) -> None:
    for target in re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/about").text):
        assert browser.ask("HEAD", target).status == 200


def test_the_internal_endpoints_answer(client: Browser) -> None:
    assert client.get("/healthz").json()["status"] == "alive"
    ready = client.get("/readyz")
    assert ready.status == 200
    assert ready.json() == {
        "instance": "web-1",
        "boot": ready.headers["X-Boot"],
        "status": "ready",
        "rows_dropped": 0,
    }
    client.get("/whoami")
    metrics = client.get("/metrics").text.splitlines()
    assert any(re.match(r"bulkhead_requests_in_flight\{.*\} \d+$", line) for line in metrics)


def test_pages_forbid_what_they_do_not_need(browser: Browser) -> None:
    headers = browser.get("/").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_the_visitors_address_is_the_one_the_proxy_tells(browser: Browser) -> None:
    assert "203.0.113.9" in browser.get("/about", {"X-Forwarded-For": "203.0.113.9"}).text


def test_only_the_last_forwarded_address_counts(browser: Browser) -> None:
    text = browser.get("/about", {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}).text
    assert "203.0.113.9" in text
    assert "198.51.100.1" not in text
