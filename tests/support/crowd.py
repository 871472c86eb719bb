"""Many clients at once, and waiting until nginx has them."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from bulkhead.testing import wait_until
from tests.support.http import Answer
from tests.support.watched import Watched


def crowd(
    count: int, ask: Callable[[int], Answer]
) -> tuple[ThreadPoolExecutor, list[Future[Answer]]]:
    """`count` clients at once, each with a request of its own."""
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(ask, number) for number in range(count)]


def statuses(answers: list[Future[Answer]]) -> Counter[int]:
    return Counter(answer.result().status for answer in answers)


def wait_for_busy(proxy: Watched, count: int) -> None:
    """Until nginx has so many requests, that wait or are with an instance."""
    wait_until(f"nginx has {count} requests", lambda: proxy.busy() >= count)


def wait_for_in_flight(proxy: Watched, count: int) -> None:
    """Until the instances have so many requests, as nginx counts them."""
    wait_until(f"{count} in flight", lambda: sum(proxy.in_flight().values()) == count)
