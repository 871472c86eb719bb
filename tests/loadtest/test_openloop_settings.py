"""What the environment may ask of the open loop."""

import math
import re

import pytest

from loadtest.mix import KINDS
from loadtest.open_settings import OpenSettings, read, target
from tests.loadtest import running

MIX = f"a JSON object of weights, not all 0, for any of {', '.join(KINDS)}"
STEPS = (
    "a JSON list of [second, rate], the seconds above 0 and rising, "
    "the rates above 0, at most 100,000"
)
HOST = "http://HOST or http://HOST:PORT, and HOST an address of this machine's loopback"
NETWORK = "a private network of this machine, as 10.203.7.0/24"


def test_defaults() -> None:
    settings = read({})
    assert settings == read({"BULKHEAD_RATE": "", "BULKHEAD_MIX": ""})
    assert (settings.proxy_url, settings.rows) == ("http://127.0.0.1:8080", "")
    assert (settings.rate, settings.arrivals, settings.seed) == (100.0, "poisson", 1)
    assert (settings.request_timeout_s, settings.connections) == (12.0, 500)
    assert settings.load_s == math.inf
    assert settings.mix.keys() == KINDS.keys()


def test_all_can_be_chosen() -> None:
    environment = {
        "BULKHEAD_PROXY_URL": "http://127.0.0.1:28080",
        "BULKHEAD_LOAD_NETWORK": "10.1.2.0/24",
        "BULKHEAD_CLIENT_ROWS": "client.jsonl",
        "BULKHEAD_RATE": "400",
        "BULKHEAD_STEPS": "[[7, 1800], [27.5, 400]]",
        "BULKHEAD_ARRIVALS": "constant",
        "BULKHEAD_MIX": '{"get": 3, "put": 0.5, "page": 0}',
        "BULKHEAD_SEED": "7",
        "BULKHEAD_REQUEST_TIMEOUT_S": "2.5",
        "BULKHEAD_CONNECTIONS": "50",
        "BULKHEAD_LOAD_S": "33",
    }
    assert read(environment) == OpenSettings(
        proxy_url="http://127.0.0.1:28080",
        network="10.1.2.0/24",
        rows="client.jsonl",
        rate=400,
        steps=((7, 1800), (27.5, 400)),
        arrivals="constant",
        mix={"get": 3, "put": 0.5, "page": 0},
        seed=7,
        request_timeout_s=2.5,
        connections=50,
        load_s=33,
    )


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("RATE", "0", "a number above 0, at most 100,000"),
        ("RATE", "fast", "a number above 0, at most 100,000"),
        ("RATE", "nan", "a number above 0, at most 100,000"),
        ("RATE", "1e9", "a number above 0, at most 100,000"),
        ("STEPS", "fast", STEPS),
        ("STEPS", "[[7]]", STEPS),
        ("STEPS", "[[0, 5]]", STEPS),
        ("STEPS", "[[7, 5], [7, 6]]", STEPS),
        ("STEPS", "[[7, 0]]", STEPS),
        ("ARRIVALS", "bursts", "one of constant, poisson"),
        ("MIX", "get", MIX),
        ("MIX", "[]", MIX),
        ("MIX", "{}", MIX),
        ("MIX", '{"get": 0}', MIX),
        ("MIX", '{"get": 2, "put": -1}', MIX),
        ("MIX", '{"get": "2"}', MIX),
        ("MIX", '{"fetch": 1}', MIX),
        ("SEED", "-1", "an integer from 0 to 9223372036854775807"),
        ("SEED", "1.5", "an integer from 0 to 9223372036854775807"),
        ("REQUEST_TIMEOUT_S", "0", "a number above 0, at most 86,400"),
        ("CONNECTIONS", "0", "an integer from 1 to 5000"),
        ("CONNECTIONS", "50000", "an integer from 1 to 5000"),
        ("LOAD_S", "inf", "a number above 0, at most 86,400"),
        ("PROXY_URL", "https://127.0.0.1", HOST),
        ("PROXY_URL", "http://192.0.2.1", HOST),
        ("PROXY_URL", "http://example.com", HOST),
        ("LOAD_NETWORK", "10.1.2.3/24", NETWORK),
        ("LOAD_NETWORK", "0.0.0.0/0", NETWORK),
    ],
)
def test_another_value_is_an_error_that_names_it(name: str, value: str, must_be: str) -> None:
    said = re.escape(f"BULKHEAD_{name} = {value!r}: must be {must_be}")
    with pytest.raises(ValueError, match=f"^{said}$"):
        read({f"BULKHEAD_{name}": value})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://127.1.2.3", ("127.1.2.3", 80)),
        ("http://localhost/", ("127.0.0.1", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
    ],
)
def test_the_load_goes_to_this_machine(url: str, expected: tuple[str, int]) -> None:
    assert target(url) == expected


def test_the_load_goes_to_a_network_that_was_made_for_it() -> None:
    asked = {"BULKHEAD_LOAD_NETWORK": "10.1.2.0/24", "BULKHEAD_PROXY_URL": "http://10.1.2.3:8080"}
    settings = read(asked)
    assert target(settings.proxy_url, settings.network) == ("10.1.2.3", 8080)
    for url in ("http://10.1.3.3:8080", "http://proxy:8080"):
        with pytest.raises(ValueError, match=r"or of 10\.1\.2\.0/24$"):
            read(asked | {"BULKHEAD_PROXY_URL": url})


@pytest.mark.live
def test_locust_ends_with_all_errors_a_line_each() -> None:
    env = {"BULKHEAD_RATE": "0", "BULKHEAD_ARRIVALS": "wave"}
    done = running.locust(running.OPEN, "-t", "1s", env=env)
    assert done.stderr == (
        "loadtest/openloop.py: BULKHEAD_RATE = '0': must be a number above 0, at most 100,000\n"
        "loadtest/openloop.py: BULKHEAD_ARRIVALS = 'wave': must be one of constant, poisson\n"
    )
    assert done.returncode == 1
