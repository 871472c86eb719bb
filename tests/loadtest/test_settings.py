"""What the file of settings may ask of either kind of load."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from loadtest.requests import KINDS
from loadtest.settings import (
    FILE,
    ClosedSettings,
    OpenSettings,
    Settings,
    address,
    read,
    validated,
)
from tests.loadtest import running

MIX = f"an object of weights, not all 0, for any of {', '.join(KINDS)}"
STEPS = (
    "a list of [second, rate], the seconds above 0 and rising, the rates above 0, at most 100,000"
)
PLAIN = "http://HOST or http://HOST:PORT"
HOST = f"{PLAIN}, and HOST an address of this machine's loopback"
NETWORK = "a private network of this machine, as 10.203.7.0/24"


def test_defaults_of_the_closed_loop() -> None:
    settings = read(ClosedSettings, {})
    assert settings == read(ClosedSettings, {FILE: ""})
    assert settings == validated(ClosedSettings, {"shape": None, "worker": None})
    assert (settings.proxy_url, settings.rows) == ("http://127.0.0.1:8080", "")
    assert (settings.shape, settings.pace, settings.work) == ("steady", 1.0, True)
    assert (settings.worker, settings.port_file, settings.parent_pid) == (None, "", None)


def test_defaults_of_the_open_loop() -> None:
    settings = validated(OpenSettings, {})
    assert settings == validated(OpenSettings, {"rate": None, "give_up_s": None})
    assert (settings.proxy_url, settings.rows) == ("http://127.0.0.1:8080", "")
    assert (settings.rate, settings.arrivals, settings.seed) == (100.0, "poisson", 1)
    assert (settings.request_timeout_s, settings.connections) == (12.0, 500)
    assert settings.give_up_s == settings.load_s == math.inf
    assert settings.mix.keys() == KINDS.keys() - {"poison"}


def chosen(kind: type[Settings], values: dict[str, Any], folder: Path) -> Settings:
    """These settings, by way of a file."""
    file = folder / "settings.json"
    file.write_text(json.dumps(values))
    return read(kind, {FILE: str(file)})


def test_all_can_be_chosen_of_the_closed_loop(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "proxy_url": "http://127.0.0.1:28080/",
        "rows": "client.jsonl",
        "worker": 0,
        "port_file": "port",
        "parent_pid": 7,
        "shape": "spike",
        "pace": 0.5,
        "work": False,
    }
    assert chosen(ClosedSettings, values, tmp_path) == ClosedSettings(**values)


def test_all_can_be_chosen_of_the_open_loop(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "proxy_url": "http://127.0.0.1:28080",
        "network": "10.1.2.0/24",
        "rows": "client.jsonl",
        "rate": 400,
        "steps": [[7, 1800], [27.5, 400]],
        "arrivals": "constant",
        "mix": {"get": 3, "put": 0.5, "page": 0},
        "seed": 7,
        "request_timeout_s": 2.5,
        "give_up_s": 0.1,
        "connections": 50,
        "load_s": 33,
    }
    expected = OpenSettings(**values | {"steps": ((7, 1800), (27.5, 400))})
    assert chosen(OpenSettings, values, tmp_path) == expected


POSITIVE = "a number above 0, at most 86,400"
RATE = "a number above 0, at most 100,000"
SEED = "an integer from 0 to 9223372036854775807"
BAD: list[tuple[type[Settings], str, object, str]] = [
    (ClosedSettings, "shape", "wave", "one of steady, ramp, spike"),
    (ClosedSettings, "pace", "fast", "a number from 0 to 1000"),
    (ClosedSettings, "pace", -1, "a number from 0 to 1000"),
    (ClosedSettings, "work", 1, "true or false"),
    (ClosedSettings, "proxy_url", "localhost", PLAIN),
    (ClosedSettings, "proxy_url", "https://localhost", PLAIN),
    (ClosedSettings, "proxy_url", "http://localhost/api", PLAIN),
    (ClosedSettings, "proxy_url", "http://localhost:port", PLAIN),
    (ClosedSettings, "rows", 7, "a string"),
    (ClosedSettings, "worker", -1, "an integer from 0 to 999"),
    (ClosedSettings, "worker", "x", "an integer from 0 to 999"),
    (ClosedSettings, "worker", 1.5, "an integer from 0 to 999"),
    (ClosedSettings, "worker", 1000, "an integer from 0 to 999"),
    (OpenSettings, "rate", 0, RATE),
    (OpenSettings, "rate", "fast", RATE),
    (OpenSettings, "rate", 1e9, RATE),
    (OpenSettings, "give_up_s", 0, POSITIVE),
    (OpenSettings, "give_up_s", "soon", POSITIVE),
    (OpenSettings, "steps", "fast", STEPS),
    (OpenSettings, "steps", [[7]], STEPS),
    (OpenSettings, "steps", [[0, 5]], STEPS),
    (OpenSettings, "steps", [[7, 5], [7, 6]], STEPS),
    (OpenSettings, "steps", [[7, 0]], STEPS),
    (OpenSettings, "arrivals", "bursts", "one of constant, poisson"),
    (OpenSettings, "mix", "get", MIX),
    (OpenSettings, "mix", [], MIX),
    (OpenSettings, "mix", {}, MIX),
    (OpenSettings, "mix", {"get": 0}, MIX),
    (OpenSettings, "mix", {"get": 2, "put": -1}, MIX),
    (OpenSettings, "mix", {"get": "2"}, MIX),
    (OpenSettings, "mix", {"fetch": 1}, MIX),
    (OpenSettings, "seed", -1, SEED),
    (OpenSettings, "seed", 1.5, SEED),
    (OpenSettings, "request_timeout_s", 0, POSITIVE),
    (OpenSettings, "connections", 0, "an integer from 1 to 5000"),
    (OpenSettings, "connections", 50000, "an integer from 1 to 5000"),
    (OpenSettings, "load_s", 1e6, POSITIVE),
    (OpenSettings, "proxy_url", "https://127.0.0.1", HOST),
    (OpenSettings, "proxy_url", "http://192.0.2.1", HOST),
    (OpenSettings, "proxy_url", "http://example.com", HOST),
    (OpenSettings, "network", "10.1.2.3/24", NETWORK),
    (OpenSettings, "network", "0.0.0.0/0", NETWORK),
]


@pytest.mark.parametrize(("kind", "name", "value", "must_be"), BAD)
def test_another_value_is_an_error_that_names_it(
    kind: type[Settings], name: str, value: object, must_be: str
) -> None:
    said = f"{name} = {json.dumps(value, separators=(',', ':'))}: must be {must_be}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        validated(kind, {name: value})


@pytest.mark.parametrize("text", ['{"rate": NaN}', '{"rate": Infinity}', "rate = 5", "[]", ""])
def test_a_file_that_is_no_object_of_json_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: "):
        read(OpenSettings, {FILE: str(file)})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = f"{FILE} = {str(tmp_path / 'none')!r}: No such file or directory"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        read(OpenSettings, {FILE: str(tmp_path / "none")})


def test_a_variable_that_was_a_setting_is_not_ignored() -> None:
    said = f"BULKHEAD_RATE is called rate in the file {FILE} now\n"
    said = f"BULKHEAD_CLIENT_ROWS is called rows in the file {FILE} now\n{said}".rstrip()
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        read(OpenSettings, {"BULKHEAD_RATE": "7", "BULKHEAD_CLIENT_ROWS": "x", "BULKHEAD_X": "y"})


def test_a_setting_of_the_other_kind_is_no_setting() -> None:
    with pytest.raises(ValueError, match=r"^rate: there is no such setting \(known: proxy_url, "):
        validated(ClosedSettings, {"rate": 5})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://localhost/", ("localhost", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_address_is_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert address(url) == ClosedSettings().address(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://127.1.2.3", ("127.1.2.3", 80)),
        ("http://localhost/", ("127.0.0.1", 80)),
        ("http://[::1]:8080", ("::1", 8080)),
    ],
)
def test_an_open_load_goes_to_this_machine(url: str, expected: tuple[str, int]) -> None:
    assert OpenSettings().address(url) == expected


def test_an_open_load_goes_to_a_network_that_was_made_for_it() -> None:
    asked = {"network": "10.1.2.0/24", "proxy_url": "http://10.1.2.3:8080"}
    settings = validated(OpenSettings, asked)
    assert settings.address(settings.proxy_url) == ("10.1.2.3", 8080)
    for url in ("http://10.1.3.3:8080", "http://proxy:8080"):
        with pytest.raises(ValueError, match=r"or of 10\.1\.2\.0/24$"):
            validated(OpenSettings, asked | {"proxy_url": url})


@pytest.mark.live
@pytest.mark.parametrize("locustfile", [running.OPEN, running.LOCUSTFILE])
def test_locust_ends_with_all_errors_a_line_each(locustfile: str) -> None:
    done = running.locust(locustfile, "-t", "1s", settings={"port_file": 0, "rows": 5})
    lines = [line.partition("settings.json: ")[2] for line in done.stderr.splitlines()]
    assert sorted(lines) == ["port_file = 0: must be a string", "rows = 5: must be a string"]
    assert done.returncode == 1


@pytest.mark.live
def test_a_host_that_is_none_ends_it_with_code_1() -> None:
    done = running.locust(running.LOCUSTFILE, "-t", "5s", "-H", "localhost:8080")
    assert "host = 'localhost:8080': must be http://HOST or http://HOST:PORT" in done.stderr
    assert done.returncode == 1
