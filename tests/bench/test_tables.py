"""What a part found, as text and as JSON."""

import json
from pathlib import Path

from bench.tables import Store, Table, shown

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


def test_each_part_is_in_the_file_as_soon_as_it_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "bench" / "one.json", {"cores": "2"})
    store.put("hang", [TABLE], 12.5)
    first = json.loads(store.path.read_text())
    store.put("idle", [], 1.0)
    both = json.loads(store.path.read_text())
    assert first["hang"]["tables"][0]["rows"][1] == ["stock nginx", None, 6604]
    assert first["machine"] == {"cores": "2"}
    assert list(both) == ["machine", "hang", "idle"]
