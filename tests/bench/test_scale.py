"""From what was measured to the model's constants: which row each of them is taken from."""

import pytest

from bench import hearing
from bench.carry import Carried
from bench.hearing import Heard, Lived
from bench.scale import Measured, constants
from bench.telling import Told


def carried(ledger: str, workers: int, writes: bool, connections: int, nginx_us: float) -> Carried:
    shares = {"per_s": 1.0, "nginx_us": nginx_us, "instance_us": 2 * nginx_us}
    more = {"database_us": 3 * nginx_us, "commits": 1.0, "proxy_row": nginx_us}
    return Carried(ledger, workers, 4, writes, connections, **shares, **more, service_rows=9.0)


FOUND = Measured(
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
        Heard(1, 6, hearing.HEAD_OCTETS + 6 * 47, 10.0, 6.0, 1.0),
        Heard(1001, 6, 400, 610.0, 8.0, 600.6),
    ],
    lived=[Lived(1, 10.0, 0.01, 6, 1.0), Lived(100, 1010.0, 0.17, 600, 1.0)],
    told=[
        Told(6, 288, 0.2, 0.2, 0.1, 70.0, 9000.0),
        Told(6006, 288_000, 20.0, 0.5, 24.024, 370.0, 2000.0),
    ],
    send_octets=219_264,
    account_s=4.0,
)


def test_requests_cost_what_the_largest_stack_spends_on_them() -> None:
    known = constants(FOUND)
    assert (known.nginx_read_us, known.nginx_write_us) == (100, 150)
    assert (known.instance_read_us, known.instance_write_us) == (200, 800)
    assert (known.database_us, known.commits) == (1200, 1)
    assert (known.proxy_row, known.service_rows) == (150, 9)


def test_what_grows_with_the_peers_is_a_slope() -> None:
    known = constants(FOUND)
    assert known.pick_us == pytest.approx(0.05)
    assert known.wake_peer_us == pytest.approx(0.1)
    assert known.tick_us == pytest.approx(0.1)
    assert known.take_us == pytest.approx(4)
    assert known.peer_octets == 47
    assert known.account_us == 40


def test_a_woken_watchdog_costs_what_the_real_one_did() -> None:
    known = constants(FOUND)
    assert known.idle_cores == 0.01
    assert known.wake_us == pytest.approx(160 - 600 * 0.1)
