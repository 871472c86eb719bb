"""Case files: an input and what must come of it, one file a case. A new case is a new file."""

from pathlib import Path

SEPARATOR = "-" * 10 + "\n"


def read_case(path: Path) -> list[str]:
    """The parts of a case file, in order."""
    return path.read_text().split(SEPARATOR)


def write_case(path: Path, parts: list[str]) -> None:
    """Put a case file down again, with new expectations."""
    path.write_text(SEPARATOR.join(parts))


def cases(folder: str) -> list[Path]:
    """Every case of tests/FOLDER."""
    found = sorted((Path(__file__).parents[1] / folder).glob("*.case"))
    assert found, f"tests/{folder} has no cases"
    return found
