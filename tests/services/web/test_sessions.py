import signal

import pytest

from bulkhead.testing import wait_until
from tests.services.web.browser import Browser
from tests.services.web.conftest import StartWeb
from tests.services.web.processes import WebInstance, accepts

pytestmark = pytest.mark.live


def test_visits_are_counted_across_pages_and_json(browser: Browser) -> None:
    browser.get("/")
    counted = browser.get("/session").json()
    assert counted["visits"] == 2
    assert counted["instance"] == "web-1"
    again = browser.get("/session").json()
    assert (again["visits"], again["session"]) == (3, counted["session"])
    assert "<dd>4</dd>" in browser.get("/").text


def test_a_session_survives_the_death_of_the_instance_that_issued_it(start_web: StartWeb) -> None:
    first = start_web(BULKHEAD_INSTANCE="web-1")
    second = start_web(BULKHEAD_INSTANCE="web-2")
    visitor = Browser(first.port)
    form = visitor.get("/").form()
    begun = visitor.get("/session").json()
    assert (begun["visits"], begun["instance"]) == (2, "web-1")

    first.send(signal.SIGKILL)
    first.wait()
    wait_until("the first instance is gone", lambda: not accepts(first.port))

    visitor.port = second.port
    gone_on = visitor.get("/session").json()
    assert gone_on == {"visits": 3, "instance": "web-2", "session": begun["session"]}
    added = visitor.post("/entries", form | {"account": "alice", "amount": "1"})
    assert added.status == 303, "the form of the dead instance is good at the other"


def test_a_forged_cookie_starts_a_new_session(web: WebInstance) -> None:
    visitor = Browser(web.port)
    visitor.get("/session")
    (name, value), *_ = visitor.cookies.items()
    visitor.cookies[name] = ("A" if value[0] != "A" else "B") + value[1:]
    assert visitor.get("/session").json()["visits"] == 1


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Browser) -> None:
    cookie = browser.get("/session").headers["Set-Cookie"]
    assert "; HttpOnly" in cookie
    assert "; SameSite=Lax" in cookie
    assert "; Secure" not in cookie


def test_the_cookie_is_secure_when_the_visitor_came_by_https(browser: Browser) -> None:
    cookie = browser.get("/session", {"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
    assert "; Secure" in cookie


def test_without_a_key_file_a_warning_is_logged(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_SECRET_FILE="", BULKHEAD_WORKERS="1")
    assert Browser(web.port).get("/session").json()["visits"] == 1
    assert "BULKHEAD_SECRET_FILE is not set" in web.log.read_text()
