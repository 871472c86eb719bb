"""What the environment may ask for."""

import re

import pytest

from loadtest.settings import Settings, address, read
from tests.loadtest import running

BAD = [
    ("BULKHEAD_SHAPE", "wave", "must be one of steady, ramp, spike"),
    ("BULKHEAD_PACE", "fast", "must be a number from 0 to 1000"),
    ("BULKHEAD_PACE", "-1", "must be a number from 0 to 1000"),
    ("BULKHEAD_PACE", "nan", "must be a number from 0 to 1000"),
    ("BULKHEAD_PROXY_URL", "localhost", "must be http://HOST or http://HOST:PORT"),
    ("BULKHEAD_PROXY_URL", "https://localhost", "must be http://HOST or http://HOST:PORT"),
    ("BULKHEAD_PROXY_URL", "http://localhost/api", "must be http://HOST or http://HOST:PORT"),
    ("BULKHEAD_PROXY_URL", "http://localhost:port", "must be http://HOST or http://HOST:PORT"),
]


def test_defaults() -> None:
    expected = Settings(proxy_url="http://127.0.0.1:8080", rows="", shape="steady", pace=1.0)
    assert read({}) == expected
    assert read({"BULKHEAD_SHAPE": "", "BULKHEAD_PACE": "", "BULKHEAD_PROXY_URL": ""}) == expected


def test_all_can_be_chosen() -> None:
    environment = {
        "BULKHEAD_PROXY_URL": "http://127.0.0.1:28080/",
        "BULKHEAD_CLIENT_ROWS": "client.jsonl",
        "BULKHEAD_SHAPE": "spike",
        "BULKHEAD_PACE": "0.5",
    }
    assert read(environment) == Settings("http://127.0.0.1:28080/", "client.jsonl", "spike", 0.5)


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_another_value_is_an_error_that_names_it(name: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name} = {value!r}: {allowed}')}$"):
        read({name: value})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://localhost/", ("localhost", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_is_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert address(url) == expected


@pytest.mark.live
def test_locust_ends_with_the_error_as_its_one_line() -> None:
    done = running.locust(running.LOCUSTFILE, "-t", "1s", env={"BULKHEAD_SHAPE": "wave"})
    assert done.stderr == (
        "loadtest/locustfile.py: BULKHEAD_SHAPE = 'wave': must be one of steady, ramp, spike\n"
    )
    assert done.returncode == 1


@pytest.mark.live
def test_a_host_that_is_none_ends_it_with_code_1() -> None:
    done = running.locust(running.LOCUSTFILE, "-t", "5s", "-H", "localhost:8080")
    assert "host = 'localhost:8080': must be http://HOST or http://HOST:PORT" in done.stderr
    assert done.returncode == 1
