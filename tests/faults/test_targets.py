"""What a drill's words mean: which instances, and which words are wrong."""

from pathlib import Path
from random import Random

import pytest

from bulkhead.faults import supervision
from bulkhead.faults.contract import Site, known
from bulkhead.testing import wait_until
from bulkhead.topology.parse import load
from tests.faults.looking import instance

TOPOLOGY = load(Path("stack.toml"))


@pytest.mark.parametrize("words", ["api-1", "web-2", "any api", "all web"])
def test_words_that_name_something_are_fine(words: str) -> None:
    assert known()["kill"].target_problem(words, TOPOLOGY) == ""


@pytest.mark.parametrize(
    "words",
    ["", "api", "api-0", "api-5", "any", "any api-1", "all db", "some api", "any  api", "nginx"],
)
def test_other_words_are_told_which_ones_there_are(words: str) -> None:
    assert known()["kill"].target_problem(words, TOPOLOGY) == (
        "kill is done to an instance (api-1, api-2, api-3, api-4, web-1, web-2), "
        "or to any or all of a service (any api; known: api, web)"
    )


def test_a_fault_of_the_proxy_is_done_to_nginx_alone() -> None:
    assert known()["nginx_reload"].target_problem("nginx", TOPOLOGY) == ""
    assert (
        known()["nginx_reload"].target_problem("api-1", TOPOLOGY) == "nginx_reload is done to nginx"
    )


def chosen(site: Site, words: str, seed: int = 1, *busy: str) -> list[str]:
    return [one.name for one in site.choose(words, Random(seed), frozenset(busy))]


@pytest.mark.live
def test_named_and_all_take_what_lives(echo_site: Site) -> None:
    assert chosen(echo_site, "api-2") == ["api-2"]
    assert chosen(echo_site, "all api") == ["api-1", "api-2", "api-3", "api-4"]
    assert chosen(echo_site, "nginx") == []
    down = (instance(echo_site, "api-2"),)
    supervision.stop(echo_site, down)
    try:
        assert chosen(echo_site, "api-2") == []
        assert chosen(echo_site, "all api") == ["api-1", "api-3", "api-4"]
        assert {chosen(echo_site, "any api", seed)[0] for seed in range(50)} == {
            "api-1", "api-3", "api-4",
        }  # fmt: skip
    finally:
        supervision.start(echo_site, down)
        wait_until("it is back", lambda: echo_site.accepts(down[0]))


@pytest.mark.live
def test_any_takes_the_same_for_the_same_seed_and_none_that_is_busy(echo_site: Site) -> None:
    picks = [chosen(echo_site, "any api", seed) for seed in range(50)]
    assert picks == [chosen(echo_site, "any api", seed) for seed in range(50)]
    assert sorted({one for pick in picks for one in pick}) == ["api-1", "api-2", "api-3", "api-4"]
    left = [chosen(echo_site, "any api", seed, "api-1", "api-3") for seed in range(50)]
    assert sorted({one for pick in left for one in pick}) == ["api-2", "api-4"]
    assert chosen(echo_site, "any web", 1, "web-1", "web-2") == []
