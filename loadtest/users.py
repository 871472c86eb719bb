"""The users: Browser looks at pages, Reader reads the API, Writer changes ledger entries.

They are closed-loop: a user sends its next request only after the last one has ended.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gevent
import msgspec
from locust import User, task
from locust.exception import StopTest

from loadtest.answer import Answer
from loadtest.client import Client, Outcome
from loadtest.requests import CREATE, HTML, KINDS, Entry, Kind

MOST_ENTRIES = 50

STYLESHEET = re.compile(r'href="(/static/[^"]+\.css[^"]*)"')

ABOUT = Kind("about", "GET", "/about", 200, "page", accept=HTML)
SESSION = Kind("session", "GET", "/session", 200)
WHOAMI = Kind("whoami", "GET", "/api/v1/whoami", 200)
WORK = Kind("work", "GET", "/api/v1/work", 200, "256 bytes", "?ms=5&cpu_ms=1&bytes=256")


class OnceUser(User):
    """A user whose client sends each request exactly once (channel.py says how).

    `think_s` is the range of its pauses between tasks, `pace` multiplies them. Every request ends
    within `request_timeout_s`. Its locustfile calls distributed.record_closed.
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
            self.client = Client(
                self.host or "", environment, self.connect_timeout_s, self.request_timeout_s
            )
        except ValueError as error:
            environment.process_exit_code = 1
            raise StopTest(f"host = {self.host!r}: must be {error}") from error

    def on_start(self) -> None:
        """Begin after a pause, so that not all users begin in the same instant."""
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Seconds to the next task."""
        return random.uniform(*self.think_s) * self.pace

    def on_stop(self) -> None:
        """Close the connection."""
        self.client.close()

    def create_entry(self, account: str, memo: str) -> Entry | None:
        """POST a new entry; None when it is not known to be there as written."""
        body = {"account": account, "amount": any_amount(), "memo": memo}

        def is_new(answer: Answer) -> str:
            entry_id = answer.header("location").rpartition("/")[2]
            return _holds(answer, msgspec.convert(body | {"id": entry_id, "version": 1}, Entry))

        outcome = self.client.send(CREATE, body=body, check=is_new)
        return None if outcome.wrong else msgspec.json.decode(outcome.answer.body, type=Entry)

    def ask(self, kind: str, entry: Entry, body: Mapping[str, object] | None = None) -> Outcome:
        """GET, PUT or PATCH an entry; the answer must hold `entry`, version included."""
        return self.client.send(KINDS[kind], entry.id, body, lambda answer: _holds(answer, entry))


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
        """The ledger page; `style` fetches the style sheet that it links to."""
        outcome = self.client.send(KINDS["page"])
        if outcome.wrong:
            self.visits = None
        else:
            self.visits = None if self.visits is None else self.visits + 1  # the page counts too
            self.stylesheets = STYLESHEET.findall(outcome.answer.body.decode(errors="replace"))

    @task(2)
    def about(self) -> None:
        """The page about the service."""
        self.client.send(ABOUT)

    @task(3)
    def session(self) -> None:
        """The visit counter in the session cookie goes up by one, whichever instance answers."""
        self.client.send(SESSION, check=self._counts_up)

    @task(1)
    def style(self) -> None:
        """A style sheet of the ledger page."""
        if self.stylesheets:
            path, mark, query = random.choice(self.stylesheets).partition("?")
            kind = Kind("style", "GET", path, 200, "something", mark + query, accept="text/css")
            self.client.send(kind)
        else:
            self.home()

    def _counts_up(self, answer: Answer) -> str:
        before = self.visits
        # The next visit counts on from the cookie's value, right or not.
        self.visits = msgspec.json.decode(answer.body, type=dict[str, Any]).get("visits")
        as_expected = before is None or self.visits == before + 1
        return "" if as_expected else "the session's visits did not go up by one"


class Reader(OnceUser):
    """Reads the API; the one entry that it looks up again and again is its own."""

    weight = 5
    think_s = (0.05, 0.15)
    does_work = True  # without stack.admin nobody serves it

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.entry: Entry | None = None

    @task(3)
    def whoami(self) -> None:
        """Which instance answers; the body and the identity header must name the same instance."""
        self.client.send(WHOAMI, check=_same_instance)

    @task(2)
    def first_page(self) -> None:
        """The first page of all entries."""
        self.client.send(KINDS["list"])

    @task(4)
    def get(self) -> None:
        """The own entry; it never changes, so it must always be what was written."""
        if self.entry is None:
            self.entry = self.create_entry(f"reader-{self.client.token}", "read only")
        else:
            self.ask("get", self.entry)

    @task(1)
    def work(self) -> None:
        """A little waiting, a little computing, a little body."""
        if self.does_work:
            self.client.send(WORK)
        else:
            self.whoami()


class Writer(OnceUser):
    """Creates, replaces, changes, reads and deletes entries that no one else touches.

    An entry is set aside before each write and taken back only when the answer tells its new
    state. Without an answer nothing is known, so the entry is never looked at again.
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
            self.delete()
        else:
            self._keep(self.create_entry(self.account, "new"))

    @task(2)
    def replace(self) -> None:
        """PUT: a new amount and memo."""
        self._write("put", ("account", "amount", "memo"), memo="replaced")

    @task(2)
    def change(self) -> None:
        """PATCH: a new amount, the rest stays."""
        self._write("patch", ("amount",))

    @task(3)
    def read(self) -> None:
        """GET: without an answer the entry stays known, for a read changes nothing."""
        if entry := self._take():
            outcome = self.ask("get", entry)
            if outcome.error or not outcome.wrong:
                self._keep(entry)

    @task(1)
    def delete(self) -> None:
        """DELETE: whatever the answer, the entry is not used again."""
        if entry := self._take():
            self.client.send(KINDS["delete"], entry.id)

    def _write(self, kind: str, fields: Sequence[str], **changes: Any) -> None:
        if entry := self._take():
            changes |= {"version": entry.version + 1, "amount": any_amount()}
            changed = msgspec.structs.replace(entry, **changes)
            body = {name: getattr(changed, name) for name in fields}
            if not self.ask(kind, changed, body).wrong:
                self._keep(changed)

    def _take(self) -> Entry | None:
        """One of the entries, which is then no longer among them; None, once, when none is left."""
        if not self.entries:
            self.create()
            return None
        return self.entries.pop(random.choice(list(self.entries)))

    def _keep(self, entry: Entry | None) -> None:
        if entry is not None:
            self.entries[entry.id] = entry


def any_amount() -> int:
    """An amount like any other."""
    return random.randint(-999, 999)


def _holds(answer: Answer, entry: Entry) -> str:
    """The defect of an answer that must hold `entry`, or ""."""
    shown = msgspec.json.decode(answer.body, type=Entry)
    if shown.version != entry.version:
        return "the entry's version is not what was written"
    if shown != entry:
        return "the entry is not what was written"
    if answer.header("etag") != f'"{entry.version}"':
        return "the ETag is not the entry's version"
    return ""


def _same_instance(answer: Answer) -> str:
    instance = msgspec.json.decode(answer.body, type=dict[str, Any]).get("instance")
    same = instance == answer.header("x-instance")
    return "" if same else "the body names another instance than the header"
