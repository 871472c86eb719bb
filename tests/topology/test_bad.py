"""Each file of tests/bad is a broken topology and every line that must be said about it."""

from pathlib import Path

import pytest

from bulkhead.errors import ConfigError
from bulkhead.topology.parse import load
from tests.support.cases import cases, read_case


@pytest.mark.parametrize("case", cases("bad"), ids=lambda path: path.stem)
def test_every_mistake_is_reported_with_path_value_and_remedy(
    case: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("b")  # a short name: the path of a unix socket is limited
    text, expected = read_case(case)
    file = tmp_path / "stack.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    said = [line.replace(str(tmp_path), "ROOT") for line in caught.value.lines]
    assert said == expected.splitlines()


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("services.api", "must be key=value"),
        ("=3", "must be key=value"),
        ("services..port=3", "must be key=value"),
        ("stack.name.x=3", "stack.name is not a table"),
    ],
)
def test_a_broken_assignment_is_refused(assignment: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(Path("stack.toml"), [assignment])


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
