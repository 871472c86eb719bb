"""From what was measured to the model's constants: which row each of them is taken from."""

import pytest

from bench import many_hosts
from bench.many_hosts import Heard, Lived, Told
from bench.scale import Carried, constants


def carried(ledger: str, workers: int, writes: bool, connections: int, nginx_us: float) -> Carried:
    shares = {"per_s": 1.0, "nginx_us": nginx_us, "instance_us": 2 * nginx_us}
    more = {"database_us": 3 * nginx_us, "commits": 1.0, "proxy_row": nginx_us}
    return Carried(ledger, workers, 4, writes, connections, **shares, **more, service_rows=9.0)


KNOWN = constants(
    carried=[
        carried("SQLite", 1, False, 32, 1.0),
        carried("SQLite", 1, True, 32, 2.0),
        carried("SQLite", 2, False, 32, 100.0),
        carried("SQLite", 2, True, 32, 150.0),
        carried("SQLite", 2, True, 1, 3.0),
        carried("PostgreSQL", 2, True, 32, 400.0),
        carried("PostgreSQL", 2, True, 1, 5.0),
    ],
    heard=[
        Heard(1, 6, many_hosts.HEAD_BYTES + 6 * 47, 10.0, 6.0, 1.0),
        Heard(1001, 6, 400, 610.0, 8.0, 600.6),
    ],
    lived=[Lived(1, 10.0, 0.01, 6, 1.0), Lived(100, 1010.0, 0.17, 600, 1.0)],
    told=[
        Told(6, 288, 0.2, 0.2, 0.1, 70.0, 9000.0),
        Told(6006, 288_000, 20.0, 0.5, 24.024, 370.0, 2000.0),
    ],
    send_bytes=219_264,
    account_s=4.0,
)


def test_requests_cost_what_the_largest_stack_spends_on_them() -> None:
    assert (KNOWN.nginx_read_us, KNOWN.nginx_write_us) == (100, 150)
    assert (KNOWN.instance_read_us, KNOWN.instance_write_us) == (200, 800)
    assert (KNOWN.database_us, KNOWN.commits) == (1200, 1)
    assert (KNOWN.proxy_row, KNOWN.service_rows) == (150, 9)


def test_what_grows_with_the_peers_is_a_slope() -> None:
    assert KNOWN.pick_us == pytest.approx(0.05)
    assert KNOWN.wake_peer_us == pytest.approx(0.1)
    assert KNOWN.tick_us == pytest.approx(0.1)
    assert KNOWN.take_us == pytest.approx(4)
    assert KNOWN.peer_bytes == 47
    assert KNOWN.account_us == 40


def test_a_woken_watchdog_costs_what_the_real_one_did() -> None:
    assert KNOWN.idle_cores == 0.01
    assert KNOWN.wake_us == pytest.approx(160 - 600 * 0.1)
