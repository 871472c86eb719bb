"""What is refused before anything starts, where a stack has several hosts."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import StateError
from bulkhead.supervise import preflight
from bulkhead.testing import free_ports
from bulkhead.topology.model import Topology
from bulkhead.topology.parse import load
from bulkhead.watchdog.hosts import read_key

KEY = "0123456789abcdef" * 2


@pytest.fixture
def ports() -> Iterator[list[int]]:
    with free_ports() as found:
        yield found


def proxy(key: Path, listen: int, hear: str) -> Topology:
    return load(
        Path("stack.toml"),
        ["hosts.role=proxy", f"hosts.key_file={key}", f"hosts.hear={hear}",
         f"proxy.listen=127.0.0.1:{listen}", f"stack.home={key.parent}"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read: No such file or directory; make one, the same on all hosts"),
        ("", "holds 0 characters; a key has 32 or more"),
        (f" {KEY[1:]}\n", "holds 31 characters; a key has 32 or more"),
        (f" {KEY}\n", None),
    ],
)
def test_the_key_is_looked_at_as_the_watchdog_does(
    text: str | None, complaint: str | None, tmp_path: Path, ports: list[int]
) -> None:
    key = tmp_path / "key"
    if text is not None:
        key.write_text(text)
    topology = proxy(key, ports[0], f"127.0.0.1:{ports[1]}")
    if complaint is None:
        preflight.check(topology, [])
        assert read_key(key) == KEY.encode()
        return
    with pytest.raises(StateError, match=re.escape(f"hosts.key_file = {key}: {complaint}")):
        preflight.check(topology, [])
    with pytest.raises((OSError, ValueError)):
        read_key(key)


def test_the_address_to_hear_at_must_be_free_and_ours(tmp_path: Path, ports: list[int]) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    elsewhere = f"192.0.2.1:{ports[1]}"  # of no host (RFC 5737)
    said = f"hosts.hear = {elsewhere}: cannot be bound: Cannot assign requested address; it must be"
    with pytest.raises(StateError, match=re.escape(said)):
        preflight.check(proxy(key, ports[0], elsewhere), [])
    here = f"127.0.0.1:{ports[1]}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("0.0.0.0", ports[1]))
        topology = proxy(key, ports[0], here)
        said = rf"hosts\.hear = {re.escape(here)}: pid {os.getpid()} \(.*\) holds it; stop that"
        with pytest.raises(StateError, match=said):
            preflight.check(topology, [])
        preflight.check(topology, [os.getpid()])  # a restart: it is free by then
