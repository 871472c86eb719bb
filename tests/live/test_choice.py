"""The policies of the watched balancer, exactly: whose turn it is."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.crowd import statuses, wait_for_busy, wait_for_in_flight
from tests.support.watched import Watched, watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"
ROUND_ROBIN = "services.api.policy=round_robin"


def turns(proxy: Watched, count: int, target: str = "/api/") -> str:
    return "".join(proxy.ask(target).instance[-1] for _ in range(count))


def test_weights_are_spread_out_as_nginx_does_it(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.weights["api-1"] = 5
        proxy.serve()
        proxy.tell_all("up")
        assert turns(proxy, 14) == "1121311" * 2
        proxy.tell(api_1="down")
        assert turns(proxy, 4) in ("2323", "3232")
        proxy.tell(api_2="drained")
        assert turns(proxy, 3) == "333"
        proxy.tell(api_3="down")
        proxy.tell(api_2="up")
        assert turns(proxy, 3) == "222"


def test_least_conn_gives_to_the_instance_with_fewest(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "services.api.policy=least_conn") as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool = ThreadPoolExecutor(6)
        slow = []
        for number in range(1, 7):
            slow.append(pool.submit(proxy.ask, "/api/?wait=1"))
            wait_for_in_flight(proxy, number)
        assert set(proxy.in_flight().values()) == {2}
        with pool:
            assert statuses(slow) == {200: 6}


@pytest.mark.parametrize("consistent", ["true", "false"])
def test_hash_keeps_keys_and_gives_them_back(tmp_path: Path, consistent: str) -> None:
    settings = ("policy=hash", "hash_key=$arg_k", f"hash_consistent={consistent}")
    with watched(
        tmp_path / "home", *[f"services.api.{setting}" for setting in settings], count=4
    ) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        before = [turns(proxy, 2, f"/api/?k={key}") for key in range(60)]
        assert set(before) == {"11", "22", "33", "44"}, "the same key, the same instance"
        proxy.tell(api_4="down")
        during = [turns(proxy, 2, f"/api/?k={key}") for key in range(60)]
        moved = [old for old, new in zip(before, during, strict=True) if old != new]
        assert set(moved) == {"44"}, "only the keys of the one that is down move"
        assert "44" not in during
        proxy.tell(api_4="up")
        assert [turns(proxy, 2, f"/api/?k={key}") for key in range(60)] == before


def test_random_two_takes_the_one_with_fewer(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "services.api.policy=random_two", count=2) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(proxy.ask, "/api/?wait=1")
            wait_for_in_flight(proxy, 1)
            (busy,) = [name for name, count in proxy.in_flight().items() if count]
            assert busy not in {proxy.ask().instance for _ in range(10)}
            assert slow.result().instance == busy


@pytest.mark.parametrize("settings", [("policy=ip_hash",), ("policy=hash", "hash_key=$arg_k")])
def test_a_proxy_that_knows_nobody_yet_waits(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """A proxy of several hosts begins like that: requests wait, and nothing is wrong with Lua."""
    with watched(tmp_path / "home", *[f"services.api.{one}" for one in settings], count=2) as proxy:
        names, proxy.names = proxy.names, []
        proxy.put()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxy.ask, "/api/?k=1")
            wait_for_busy(proxy, 1)
            proxy.names = names
            proxy.serve()
            proxy.tell_all("up")
            assert answer.result().status == 200
