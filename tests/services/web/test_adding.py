from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.services.web.browser import Browser
from tests.services.web.ledger_stub import LedgerStub, Orders
from tests.services.web.processes import WebInstance

pytestmark = pytest.mark.live

ENTRY = {"account": "alice", "amount": "12", "memo": "lunch & more"}


def test_adding_leads_back_to_the_ledger_with_a_message(
    browser: Browser, ledger: LedgerStub
) -> None:
    added = browser.post("/entries", browser.get("/").form() | ENTRY)
    assert (added.status, added.headers["Location"]) == (303, "/")
    assert ledger.posts()[0].body == {"account": "alice", "amount": 12, "memo": "lunch & more"}
    page = browser.get("/")
    assert "Added 12 to alice." in page.text
    assert "lunch &amp; more" in page.text
    assert "Added 12" not in browser.get("/").text, "the message is shown once"


def test_each_form_has_a_key_of_its_own(browser: Browser) -> None:
    assert browser.get("/").form()["key"] != browser.get("/").form()["key"]


def test_a_double_click_adds_once(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    ledger.orders = Orders(delay_s=0.2)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: browser.post("/entries", form), range(2)))
    assert [answer.status for answer in answers] == [303, 303]
    assert [asked.headers["idempotency-key"] for asked in ledger.posts()] == [form["key"]] * 2
    assert len(ledger.entries) == 1


def test_a_form_sent_again_later_says_that_nothing_was_added(
    browser: Browser, ledger: LedgerStub
) -> None:
    form = browser.get("/").form() | ENTRY
    browser.post("/entries", form)
    browser.post("/entries", form)
    assert "sending it again added nothing" in browser.get("/").text
    assert len(ledger.entries) == 1


def test_a_program_may_give_the_key_as_a_header(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    browser.post("/entries", form, {"Idempotency-Key": "mine-1"})
    assert ledger.posts()[0].headers["idempotency-key"] == "mine-1"


def test_mistakes_are_shown_beside_their_fields_and_nothing_is_sent(
    browser: Browser, ledger: LedgerStub
) -> None:
    form = browser.get("/").form() | ENTRY | {"account": "a b", "amount": "many"}
    answer = browser.post("/entries", form)
    assert answer.status == 422
    assert "Please correct the marked fields." in answer.text
    assert answer.text.count('aria-invalid="true"') == 2
    assert answer.form() == form, "what was typed is kept, and so is the unused key"
    assert ledger.posts() == []


def test_mistakes_are_told_to_programs_as_json(client: Browser, ledger: LedgerStub) -> None:
    form = client.get("/").form() | ENTRY | {"amount": "many"}
    answer = client.post("/entries", form)
    assert answer.status == 422
    assert answer.json()["error_code"] == "invalid_entry"
    assert ledger.posts() == []


def test_a_refusal_of_the_api_is_shown_with_the_form(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    body = b'{"error_code": "c", "error_msg": "too much", "resolution": "take less"}'
    ledger.orders = Orders(status=422, body=body)
    answer = browser.post("/entries", form)
    assert answer.status == 422
    assert "too much" in answer.text
    assert "take less" in answer.text
    assert answer.form()["memo"] == "lunch & more"
    assert answer.form()["key"] != form["key"], "a corrected form is a new one"


def test_changing_a_form_that_was_sent_already_does_not_add_silently(
    browser: Browser, ledger: LedgerStub
) -> None:
    form = browser.get("/").form() | ENTRY
    browser.post("/entries", form)
    answer = browser.post("/entries", form | {"amount": "13"})
    assert answer.status == 422
    assert "This form had already added an entry" in answer.text
    assert len(ledger.entries) == 1
    browser.post("/entries", answer.form())
    assert [entry["amount"] for entry in ledger.entries] == [12, 13]


@pytest.mark.parametrize(
    ("orders", "status"),
    [
        (Orders(status=503, headers={"Retry-After": "4"}), 503),
        (Orders(delay_s=1.5), 503),
        (Orders(broken="reset"), 503),
        (Orders(status=500, body=b"oops"), 502),
    ],
    ids=["unavailable", "too slow", "reset", "broken"],
)
def test_after_a_failure_the_same_form_can_be_sent_again_safely(
    browser: Browser, ledger: LedgerStub, orders: Orders, status: int
) -> None:
    form = browser.get("/").form() | ENTRY
    ledger.orders = orders
    answer = browser.post("/entries", form)
    assert answer.status == status
    assert "It is safe to send the form again" in answer.text
    assert answer.form() == form, "the same key and the same values"
    assert (answer.headers["Retry-After"] is not None) == (status == 503)
    ledger.orders = Orders()
    assert browser.post("/entries", answer.form()).status == 303
    assert len(ledger.entries) == 1


def test_a_form_from_elsewhere_is_refused(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    for wrong in (form | {"token": "x"}, {n: v for n, v in form.items() if n != "token"}):
        answer = browser.post("/entries", wrong)
        assert answer.status == 403
        assert "does not belong to your session" in answer.text
    stranger = Browser(browser.port)
    assert stranger.post("/entries", form).status == 403, "a token without its session"
    stranger.get("/")
    assert stranger.post("/entries", form).status == 403, "a token of another session"
    assert ledger.posts() == []


def test_two_first_pages_at_once_have_two_good_forms(ledger: LedgerStub, web: WebInstance) -> None:
    """Neither page is loaded with a cookie; the browser keeps the session that comes last."""
    one, other = Browser(web.port), Browser(web.port)
    forms = [page.get("/").form() | ENTRY for page in (one, other)]
    both = Browser(web.port, cookies=one.cookies | other.cookies)
    assert [both.post("/entries", form).status for form in forms] == [303, 303]
    assert len(ledger.entries) == 2
    assert both.get("/").form()["token"] == forms[1]["token"], "there is one session from now on"


def test_a_kept_token_counts_only_as_it_was_signed(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    (name,) = [one for one in browser.cookies if one.startswith("bulkhead_form_")]
    payload, _, signature = browser.cookies[name].rpartition(".")
    # Not its last character: two of that one's six bits say nothing (20 bytes in base64).
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    for forged in (form["token"], f"{payload}.{other}", ""):
        stranger = Browser(browser.port, cookies={name: forged})
        assert stranger.post("/entries", form).status == 403
    stranger = Browser(browser.port, cookies={name: browser.cookies[name]})
    assert stranger.post("/entries", form | {"token": form["token"][:8]}).status == 403
    assert ledger.posts() == []


def test_a_form_without_a_usable_key_is_refused(browser: Browser, ledger: LedgerStub) -> None:
    form = browser.get("/").form() | ENTRY
    for key in ("", "two words", "k" * 256, "proxy:theirs"):
        assert browser.post("/entries", form | {"key": key}).status == 400
    assert ledger.posts() == []


def test_only_forms_are_taken(client: Browser) -> None:
    answer = client.ask("POST", "/entries", b"{}", {"Content-Type": "application/json"})
    assert answer.status == 415
    assert answer.json()["error_code"] == "unsupported_media_type"
