"""Announcements between hosts: who may speak, what is believed, and what silence means."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead import peer_table
from bulkhead.testing import free_ports, wait_until
from bulkhead.watchdog import hosts as watched
from bulkhead.watchdog import upstream
from bulkhead.watchdog.hosts import Announcement, Announcer, Hosts, pack, read_key, unpack

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
UP = "api api-1.a 127.0.0.2:8101 1 up 12"
SAID = Announcement("a", 1000, 1, (UP,))


class Proxy:
    """A proxy's ear, and what it has reported."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.reports: list[str] = []
        self.hosts = Hosts(self.address, KEY, lambda _, what: self.reports.append(what))
        self._speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._speaker.connect(("127.0.0.1", port))

    def hear(self, said: Announcement, key: bytes = KEY) -> list[str]:
        """Send it over the wire; the lines for nginx after that."""
        return self.hear_raw(pack(key, said))

    def hear_raw(self, datagram: bytes) -> list[str]:
        self._speaker.send(datagram)
        self.hosts.hear()
        return self.hosts.lines()

    def close(self) -> None:
        self.hosts.close()
        self._speaker.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with free_ports() as ports:
        proxy = Proxy(ports[0])
        yield proxy
        proxy.close()


@given(st.binary(max_size=200))
def test_nothing_unsigned_is_believed(noise: bytes) -> None:
    assert unpack(KEY, noise) is None
    whole = pack(KEY, SAID)
    assert unpack(KEY, whole) == SAID
    assert unpack(OTHER_KEY, whole) is None
    assert unpack(KEY, whole + noise) == (SAID if not noise else None)


@given(st.integers(0, len(pack(KEY, SAID)) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(where: int, by: int) -> None:
    changed = bytearray(pack(KEY, SAID))
    changed[where] ^= by
    with suppress(UnicodeDecodeError):
        assert unpack(KEY, bytes(changed)) is None


def test_what_was_listened_to_is_worth_nothing_later(proxy: Proxy) -> None:
    down = UP.replace("up", "down")
    assert proxy.hear(SAID) == [UP]
    assert proxy.hear(replace(SAID, number=3, lines=(down,))) == [down]
    assert proxy.hear(replace(SAID, number=2)) == [down]
    assert proxy.hear(replace(SAID, number=3)) == [down]
    assert proxy.hear(replace(SAID, life=2000, number=1)) == [UP]
    assert proxy.hear(replace(SAID, number=9, lines=(down,))) == [UP]
    assert proxy.reports == ["heard for the first time", "another watchdog speaks for it"]


def test_a_recording_is_outdone_by_the_next_true_word(proxy: Proxy) -> None:
    """A proxy that has just started knows nothing of what came before."""
    down = UP.replace("up", "down")
    assert proxy.hear(replace(SAID, life=500, number=99, lines=(down,))) == [down]
    assert proxy.hear(SAID) == [UP]
    assert proxy.hear(replace(SAID, life=500, number=100, lines=(down,))) == [UP]


def test_hosts_have_the_same_order_on_every_proxy(proxy: Proxy) -> None:
    """Whoever is heard first: ip_hash and hash choose by it."""
    other = UP.replace("api-1.a", "api-1.b")
    proxy.hear(replace(SAID, host="b", lines=(other,)))
    assert proxy.hear(SAID) == [UP, other]


def test_a_proxy_that_has_just_begun_to_listen_does_not_know_yet(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not proxy.hosts.has_listened()
    monkeypatch.setattr(watched, "LISTEN_S", 0.0)
    assert proxy.hosts.has_listened()


def test_a_stranger_is_not_heard(proxy: Proxy) -> None:
    assert proxy.hear(SAID, OTHER_KEY) == []
    for noise in (b"", b"\n", b"x" * 9000, b"\xff\n\xff"):
        assert proxy.hear_raw(noise) == []
    assert proxy.reports == []


def test_a_silent_host_is_down_and_one_that_speaks_is_back(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "SILENT_S", 0.2)
    monkeypatch.setattr(watched, "FORGET_S", 0.6)
    out = "web web-1.a 127.0.0.2:8201 1 drained 13"
    proxy.hear(replace(SAID, lines=(UP, out)))
    proxy.hosts.turn(0)
    assert proxy.hosts.lines() == [UP, out]
    wait_until("it is silent", lambda: turned(proxy) != [UP, out])
    assert proxy.hosts.lines() == [UP.replace("up", "down"), out]
    assert proxy.hear(replace(SAID, number=2)) == [UP]
    assert proxy.reports[-1].startswith("heard again after")
    wait_until("it is forgotten", lambda: turned(proxy) == [])
    assert proxy.reports[-1] == "forgotten"


def turned(proxy: Proxy) -> list[str]:
    proxy.hosts.turn(0)
    return proxy.hosts.lines()


def test_a_watchdog_that_was_late_blames_nobody(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "SILENT_S", 0.2)
    proxy.hear(SAID)
    time.sleep(0.3)
    proxy.hosts.turn(10)
    assert proxy.hosts.lines() == [UP]
    # But no host has credit for later.
    wait_until("it is silent", lambda: turned(proxy) != [UP], 2)


def test_a_host_tells_every_proxy_how_that_reaches_it() -> None:
    with free_ports() as ports:
        proxies = [Proxy(port) for port in ports[:2]]
        names = [f"localhost:{ports[0]}", f"127.0.0.1:{ports[1]}", "no.such.name.invalid:1"]
        complaints: list[str] = []
        announcer = Announcer("a", names, KEY, complaints.append)
        line = "api api-1.a 0.0.0.0:8101 1 up 12"

        def told() -> bool:
            announcer.announce([line])
            return all(one.hosts.hear() or one.hosts.lines() for one in proxies)

        wait_until("both know it", told)
        assert [one.hosts.lines() for one in proxies] == [
            ["api api-1.a 127.0.0.1:8101 1 up 12"]
        ] * 2
        announcer.close()
        wait_until("the wrong name is said", lambda: complaints)
        assert complaints[0].startswith("no.such.name.invalid:1: ")
        for one in proxies:
            one.close()


def test_a_host_with_another_address_is_announced_anew() -> None:
    """As after a network was taken away and given back."""
    with free_ports() as ports:
        proxy = Proxy(ports[0])
        announcer = Announcer("a", [proxy.address], KEY, lambda _: None)
        out = UP.replace("up", "drained")

        def heard(line: str) -> bool:
            announcer.announce([line])
            proxy.hosts.hear()
            return proxy.hosts.lines() == [line]

        wait_until("it is known", lambda: heard(UP))
        (where,) = announcer._sockets
        announcer._sockets[where].close()  # an error of the system, as for an address that is gone
        wait_until("it is heard again", lambda: heard(out))
        proxy.close()
        announcer.close()


def test_a_short_key_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text("short\n")
    with pytest.raises(ValueError, match=f"{path}: must hold a key of at least 32 characters"):
        read_key(path)
    path.write_text("k" * 32 + "\n")
    assert read_key(path) == KEY


def test_both_ends_have_one_word_for_no_instance() -> None:
    assert peer_table.table([]) == peer_table.NOBODY == upstream.NOBODY
