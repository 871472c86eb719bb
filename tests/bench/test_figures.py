"""Rows to figures, figures to tables: a request that was not answered well never was."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest

from bench.__main__ import PARTS, carry_out
from bench.figures import Table, figures, quantile, shown
from bulkhead.records import ClientRow


def row(planned: float, took: float = 0.01, **more: object) -> ClientRow:
    values = {"status": 200, "sent": planned, **more}
    return ClientRow(
        id="id", name="GET /", method="GET", target="/", planned=planned, done=planned + took,
        **values,  # type: ignore[arg-type]
    )  # fmt: skip


def test_counts_only_what_was_planned_in_a_span() -> None:
    rows = [row(at) for at in (0.9, 1.0, 1.9, 2.0, 5.0)]
    found = figures(rows, [(1.0, 2.0), (5.0, 6.0)])
    assert (found.sent, found.failed) == (3, 0)
    assert found.rate == pytest.approx(1.5)


def test_names_each_failure_as_the_client_saw_it() -> None:
    rows = [
        row(1, error="refused", status=0),
        row(1, status=502, wrong="status 502, expected 200"),
        row(1, status=502, wrong="status 502, expected 200"),
        row(1, status=200, wrong="another entry than asked for"),
        row(1),
    ]
    found = figures(rows, [(0, 2)])
    assert found.failed == 4
    assert found.kinds == {"502": 2, "refused": 1, "wrong answer": 1}


def test_quick_failures_make_nothing_look_quick() -> None:
    rows = [row(1, took=0.5) for _ in range(50)]
    rows += [row(1, took=0.001, status=502, wrong="status 502, expected 200") for _ in range(50)]
    found = figures(rows, [(0, 2)])
    assert found.p50_ms == pytest.approx(500)
    assert found.p99_ms is None
    assert found.worst_ms == pytest.approx(500)


def test_the_worst_is_the_longest_good_answer() -> None:
    found = figures([row(1, took=0.2), row(1, took=7), row(1, took=25, error="timeout")], [(0, 2)])
    assert found.worst_ms == pytest.approx(7000)
    assert figures([row(1, error="reset")], [(0, 2)]).worst_ms is None


def test_lateness_is_of_those_that_were_sent() -> None:
    rows = [row(1, sent=1.25, took=1), row(1, sent=0.0, error="unsent")]
    assert figures(rows, [(0, 2)]).late_ms == pytest.approx(250)


def test_quantile_is_a_value_that_was_there() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)) == (50, 99, 100)
    assert quantile([3.0], 0.001) == 3
    assert quantile([], 0.5) == math.inf


TABLE = Table(
    "kills",
    ["who", "ms", "failed"],
    [["bulkhead", 0.25, 0], ["stock nginx", None, 6604]],
    ["a note"],
)


def test_words_to_the_left_numbers_to_the_right() -> None:
    assert TABLE.text() == (
        "kills\n"
        "  who             ms  failed\n"
        "  bulkhead      0.25       0\n"
        "  stock nginx  never   6,604\n"
        "a note\n"
    )


def test_a_table_for_a_page() -> None:
    assert TABLE.markdown() == (
        "**kills**\n"
        "\n"
        "| who | ms | failed |\n"
        "| --- | --- | --- |\n"
        "| bulkhead | 0.25 | 0 |\n"
        "| stock nginx | never | 6,604 |\n"
        "\n"
        "a note\n"
    )


def test_three_digits_matter() -> None:
    cells = (0.1234, 12.345, 1234.5, 1234, None, "-")
    assert [shown(cell) for cell in cells] == ["0.12", "12.3", "1,234", "1,234", "never", "-"]


def test_each_part_is_in_the_file_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "hang", lambda _asked: iter([TABLE]))
    monkeypatch.setitem(PARTS, "idle", lambda _asked: iter([]))
    path = tmp_path / "bench" / "one.json"
    whole: dict[str, object] = {"machine": {"cores": "2"}}
    asked = Namespace(markdown=False)
    carry_out("hang", asked, path, whole)
    first = json.loads(path.read_text())
    carry_out("idle", asked, path, whole)
    both = json.loads(path.read_text())
    assert first["hang"]["tables"][0]["rows"][1] == ["stock nginx", None, 6604]
    assert first["machine"] == {"cores": "2"}
    assert list(both) == ["machine", "hang", "idle"]
