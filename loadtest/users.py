"""The users: Browser looks at pages, Reader reads the API, Writer changes ledger entries.

They are closed-loop: a user sends its next request only after the last one has ended.
"""

import random
import re
from typing import Any

import gevent
import msgspec
from locust import User, task
from locust.exception import StopTest

from loadtest import entries
from loadtest.client import Client, Outcome, Request
from loadtest.entries import Entry
from loadtest.mix import ENTRIES, HTML
from loadtest.settings import address
from loadtest.wire import Answer, Connection

MOST_ENTRIES = 50

STYLESHEET = re.compile(r'href="(/static/[^"]+\.css[^"]*)"')


class Whoami(msgspec.Struct):
    """The part of /api/v1/whoami that a Reader looks at."""

    instance: str


class Page(msgspec.Struct):
    """The part of a list of entries that a Reader looks at."""

    entries: list[Entry]


class Session(msgspec.Struct):
    """The part of /session that a Browser looks at."""

    visits: int


class OnceUser(User):
    """A user whose client sends each request exactly once (loadtest.wire says how).

    `think_s` is the range of its pauses between tasks, `pace` multiplies them. The time-outs are in
    seconds; every request ends within `request_timeout_s`. Its locustfile installs
    loadtest.evidence, which makes the recorder.
    """

    abstract = True
    host = "http://127.0.0.1:8080"
    connect_timeout_s = 5.0
    request_timeout_s = 15.0
    pace = 1.0
    think_s = (0.0, 0.0)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        try:
            where = address(self.host or "")
        except ValueError as error:
            environment.process_exit_code = 1
            raise StopTest(f"host = {error}") from error
        connection = Connection(where, self.connect_timeout_s, self.request_timeout_s)
        self.client = Client(
            self.host or "", connection, environment.recorder, environment.events.request
        )

    def on_start(self) -> None:
        """Called by Locust when this user begins: not all of them in the same instant."""
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds to the next task."""
        return random.uniform(*self.think_s) * self.pace

    def on_stop(self) -> None:
        """Called by Locust when this user ends."""
        self.client.close()


class Browser(OnceUser):
    """Looks at the pages, with cookies."""

    weight = 3
    think_s = (0.5, 1.5)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.stylesheets: list[str] = []
        self.visits: int | None = 0  # as the cookie has it; None when that is not known

    @task(4)
    def home(self) -> None:
        """The ledger page; what it links to is fetched by `style`."""
        outcome = self._page("/")
        if outcome.wrong:
            self.visits = None
        else:
            self.visits = None if self.visits is None else self.visits + 1  # the page counts too
            self.stylesheets = STYLESHEET.findall(outcome.answer.body.decode(errors="replace"))

    @task(2)
    def about(self) -> None:
        """The page about the service."""
        self._page("/about")

    @task(3)
    def session(self) -> None:
        """The visit counter in the session cookie goes up by one, whichever instance answers."""
        self.client.send(Request(method="GET", target="/session", check=self._counts_up))

    @task(1)
    def style(self) -> None:
        """A style sheet of the ledger page."""
        if not self.stylesheets:
            return self.home()
        target = random.choice(self.stylesheets)
        self.client.send(Request(method="GET", target=target, accept="text/css", check=_not_empty))
        return None

    def _page(self, target: str) -> Outcome:
        return self.client.send(
            Request(method="GET", target=target, accept=HTML, check=_is_html_page)
        )

    def _counts_up(self, answer: Answer) -> str:
        before = self.visits
        # What the cookie holds now, right or not, is what the next visit counts on from.
        self.visits = msgspec.json.decode(answer.body, type=Session).visits
        as_expected = before is None or self.visits == before + 1
        return "" if as_expected else "the session's visits did not go up by one"


class Reader(OnceUser):
    """Reads the API; the one entry that it looks up again and again is its own."""

    weight = 5
    think_s = (0.05, 0.15)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.entry: Entry | None = None

    @task(3)
    def whoami(self) -> None:
        """Who answers; the body and the identity header must name the same instance."""
        self.client.send(Request(method="GET", target="/api/v1/whoami", check=_same_instance))

    @task(2)
    def first_page(self) -> None:
        """The first page of all entries."""
        target = f"{ENTRIES}?limit=20"
        self.client.send(Request(method="GET", target=target, check=_at_most_20))

    @task(4)
    def get(self) -> None:
        """The own entry; it never changes, so it must always be what was written."""
        if self.entry is None:
            self.entry = entries.create(self.client, f"reader-{self.client.token}", "read only")
        else:
            entries.get(self.client, self.entry)

    @task(1)
    def work(self) -> None:
        """A little waiting, a little computing, a little body."""
        target = "/api/v1/work?ms=5&cpu_ms=1&bytes=256"
        self.client.send(Request(method="GET", target=target, check=_has_256_octets))


class Writer(OnceUser):
    """Creates, replaces, changes, reads and deletes entries that no one else touches.

    An entry is set aside before each write and taken back only when the answer says what became
    of it. Without an answer nothing is known, so the entry is never looked at again.
    """

    weight = 2
    think_s = (0.05, 0.15)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.account = f"writer-{self.client.token}"
        self.entries: dict[str, Entry] = {}

    @task(3)
    def create(self) -> None:
        """A new entry, or, with many entries already, one less."""
        if len(self.entries) >= MOST_ENTRIES:
            return self.delete()
        self._keep(entries.create(self.client, self.account, "new"))
        return None

    @task(2)
    def replace(self) -> None:
        """PUT: a new amount and memo."""
        if entry := self._take():
            changed = entry.next(amount=entries.any_amount(), memo="replaced")
            if not entries.put(self.client, changed).wrong:
                self._keep(changed)

    @task(2)
    def change(self) -> None:
        """PATCH: a new amount, the rest stays."""
        if entry := self._take():
            changed = entry.next(amount=entries.any_amount())
            if not entries.patch(self.client, changed, changed.amount).wrong:
                self._keep(changed)

    @task(3)
    def read(self) -> None:
        """GET: without an answer the entry stays known, for a read changes nothing."""
        if entry := self._take():
            outcome = entries.get(self.client, entry)
            if outcome.error or not outcome.wrong:
                self._keep(entry)

    @task(1)
    def delete(self) -> None:
        """DELETE: whatever the answer, the entry is not used again."""
        if entry := self._take():
            entries.delete(self.client, entry)

    def _take(self) -> Entry | None:
        """One of the entries, which is then no longer among them; None, once, when none is left."""
        if not self.entries:
            self.create()
            return None
        return self.entries.pop(random.choice(list(self.entries)))

    def _keep(self, entry: Entry | None) -> None:
        if entry is not None:
            self.entries[entry.id] = entry


def _is_html_page(answer: Answer) -> str:
    return "" if b"</html>" in answer.body.lower() else "not a whole HTML page"


def _not_empty(answer: Answer) -> str:
    return "" if answer.body else "an empty body"


def _same_instance(answer: Answer) -> str:
    instance = msgspec.json.decode(answer.body, type=Whoami).instance
    same = instance == answer.header("x-instance")
    return "" if same else "the body names another instance than the header"


def _at_most_20(answer: Answer) -> str:
    page = msgspec.json.decode(answer.body, type=Page)
    return "" if len(page.entries) <= 20 else "more entries than asked for"


def _has_256_octets(answer: Answer) -> str:
    return "" if len(answer.body) == 256 else "not as many octets as asked for"
