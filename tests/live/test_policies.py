"""Who gets which request: each policy measured through real nginx, with instances that only say
who they are, by both balancers. Where nginx is exact the test is exact.

The watched balancer has a turn of its own in each worker, so it is exact with one worker.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.stack import ECHO, Stack, running_stack

pytestmark = pytest.mark.live

BALANCERS = {
    "watched": ("proxy.balancer=watched", "proxy.workers=1"),
    "nginx": ("proxy.balancer=nginx", "proxy.workers=2"),
}
both = pytest.mark.parametrize("balancer", BALANCERS)


@contextmanager
def api(folder: Path, balancer: str, *settings: str) -> Iterator[Stack]:
    """A stack whose api service has the given settings; the web service is there, and idle."""
    prefixed = [f"services.api.{setting}" for setting in settings]
    others = (*ECHO, "services.web.instances=1", *BALANCERS[balancer])
    with running_stack(folder / "home", [*others, *prefixed]) as stack:
        yield stack


def answerers(stack: Stack, count: int) -> list[str]:
    return [stack.get("/api/").instance for _ in range(count)]


@both
def test_round_robin_is_exact(tmp_path: Path, balancer: str) -> None:
    """Any 4 requests in a row go to 4 different instances; in nginx's zone also over 2 workers."""
    with api(tmp_path, balancer, "policy=round_robin") as stack:
        found = answerers(stack, 40)
    assert Counter(found) == {"api-1": 10, "api-2": 10, "api-3": 10, "api-4": 10}
    assert all(len(set(found[at : at + 4])) == 4 for at in range(0, 40, 4))


@both
def test_weights_are_exact_and_spread_out(tmp_path: Path, balancer: str) -> None:
    """nginx's smooth weighted round robin: 5,1,1 gives a a b a c a a, not a a a a a b c."""
    with api(tmp_path, balancer, "policy=round_robin", "instances=3", "weights=[5,1,1]") as stack:
        found = answerers(stack, 70)
    assert Counter(found) == {"api-1": 50, "api-2": 10, "api-3": 10}
    turn = "".join(name[-1] for name in found)[:14]
    assert "1121311" in turn, turn


def ip_hash_choice(source: str, instances: int) -> str:
    """nginx's ip_hash: the first three bytes, hashed (ngx_http_upstream_ip_hash_module.c)."""
    value = 89
    for byte in source.split(".")[:3]:
        value = (value * 113 + int(byte)) % 6271
    return f"api-{value % instances + 1}"


@both
def test_ip_hash_follows_the_first_three_bytes_of_the_client(tmp_path: Path, balancer: str) -> None:
    sources = [f"127.{x}.{y}.{z}" for x in (0, 9, 77) for y in (0, 1, 200) for z in (1, 250)]
    with api(tmp_path, balancer, "policy=ip_hash") as stack:
        found = {
            source: {stack.get("/api/", source=source).instance for _ in range(2)}
            for source in sources
        }
    assert found == {source: {ip_hash_choice(source, 4)} for source in sources}
    assert len(set.union(*found.values())) > 2, "the sources do not tell instances apart"


def placements(stack: Stack, keys: int) -> list[str]:
    return [stack.get(f"/api/?k=key{number}").instance for number in range(keys)]


def moved_when_one_of_four_leaves(
    folder: Path, balancer: str, consistent: str
) -> tuple[list[str], list[str]]:
    """Where 400 keys live with four instances, and where with the first three of them."""
    settings = ("policy=hash", "hash_key=$arg_k", f"hash_consistent={consistent}")
    with api(folder, balancer, *settings) as stack:
        before = placements(stack, 400)
        stack.settings.append("services.api.instances=3")
        stack.bulkhead("restart")
        return before, placements(stack, 400)


@both
def test_consistent_hash_is_retriedly_the_keys_of_the_one_that_left(
    tmp_path: Path, balancer: str
) -> None:
    before, after = moved_when_one_of_four_leaves(tmp_path, balancer, "true")
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"api-4"}, "a key moved although its instance stayed"
    assert len(moved) == before.count("api-4")
    assert 0.15 < len(moved) / 400 < 0.35, f"{len(moved)} of 400 moved; about a quarter should"


@both
def test_plain_hash_moves_most_keys(tmp_path: Path, balancer: str) -> None:
    before, after = moved_when_one_of_four_leaves(tmp_path, balancer, "false")
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    assert moved / 400 > 0.6, f"{moved} of 400 moved; about three quarters should"


def under_concurrency(stack: Stack, clients: int, requests: int) -> Counter[str]:
    """Who answered, when `clients` threads send `requests` each."""
    shares: Counter[str] = Counter()
    lock = threading.Lock()

    def client() -> None:
        for _ in range(requests):
            who = stack.get("/api/").instance
            with lock:
                shares[who] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return shares


SLOW = ("env.ECHO_SLOW=api-1", 'env.ECHO_DELAY_MS="100"')


@both
def test_least_conn_spares_a_slow_instance(tmp_path: Path, balancer: str) -> None:
    """Eight clients: the slow instance holds connections, so it hardly gets new ones."""
    with api(tmp_path, balancer, "policy=least_conn", *SLOW) as stack:
        shares = under_concurrency(stack, clients=8, requests=60)
    assert sum(shares.values()) == 480
    assert shares["api-1"] < 480 * 0.1, shares


@both
def test_round_robin_does_not_spare_it(tmp_path: Path, balancer: str) -> None:
    """The control of the test above: the same load, and the slow instance gets its full quarter."""
    with api(tmp_path, balancer, "policy=round_robin", *SLOW) as stack:
        shares = under_concurrency(stack, clients=8, requests=15)
    assert shares == {"api-1": 30, "api-2": 30, "api-3": 30, "api-4": 30}


@both
def test_random_two_uses_all_and_spares_a_slow_instance(tmp_path: Path, balancer: str) -> None:
    with api(tmp_path, balancer, "policy=random_two", *SLOW) as stack:
        shares = under_concurrency(stack, clients=8, requests=60)
    assert set(shares) == {"api-1", "api-2", "api-3", "api-4"}
    assert shares["api-1"] < min(shares["api-2"], shares["api-3"], shares["api-4"]) / 2, shares
