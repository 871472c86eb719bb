"""The words of the field: retired ones do not come back, in code, templates, output or docs."""

import re
import subprocess
from pathlib import Path

import pytest

GLOSSARY = Path("docs/glossary.md").read_text()

# A pattern of a retired word -> the word of docs/glossary.md that took its place.
RETIRED = {
    r"stand-in|stand_in|StandIn": "shim",
    r"\bstrays?\b|\bStrays?\b|BULKHEAD_STRAY": "orphaned worker",
    r"heirloom": "inherited socket",
    r"\bCrew\b|\bcrew\b": "process table",
    r"\bEar\b": "notify socket",
    r"\bReign\b|\breign\b": "supervisord monitor",
    r"\bTeller\b": "upstream publisher",
    r"[Nn]udg(e|ed|er|ing)\b": "wake",
    r"\bGently\b|\bgently\b": "low-priority boot",
    r"\b(the|a) hold\b|hold tier|hold_full|hold_over|\bhold_max\b": "request queue",
    r"[Cc]lass `?once`?\b|[Rr]epeatable": "non-retryable",
    r"moved on\b|moves on\b": "retried",
    r"run/out\b|out of rotation": "drained",
    r"\bStencil\b|\bstencil\b": "request template",
    r"\bbeats?\b": "heartbeat",
    r"\bDealer\b": "shard assigner",
    r"\bhasten\b": "unthrottle",
    r"\bghosts?\b": "unacknowledged effect",
    r"\b(?<!/)octets?\b(?!-stream)": "bytes",
    r"\bleave it away\b|\bleft away\b": "omit",
}
# Files that must name a retired word.
EXCUSED = {
    "CHANGELOG.md": "what was called so then",
    "bulkhead/topology/problems.py": "tells what a renamed setting is called now",
    "tests/test_words.py": "this list",
}


def files() -> list[Path]:
    """Every text that a reader or a user meets."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    suffixes = (".py", ".lua", ".sql", ".j2", ".toml", ".md", ".yml", ".html", ".sh", ".conf")
    paths = [Path(name) for name in listed.stdout.splitlines() if name not in EXCUSED]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_retired_word_is_nowhere(pattern: str) -> None:
    word = re.compile(pattern)
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line) or word.search(line.replace("_", " "))  # a name is words, too
    ]
    assert found == [], f"{pattern} is called {RETIRED[pattern]} now"


def test_the_glossary_is_in_order_and_has_every_word_once() -> None:
    words = re.findall(r"^\| ([a-z][\w ,-]*?) \|", GLOSSARY, re.MULTILINE)[1:]
    assert len(words) > 50
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))


def test_no_file_name_stands_in_more_than_two_packages() -> None:
    names: dict[str, list[str]] = {}
    for path in files():
        if path.suffix == ".py" and path.parts[0] not in ("tests", "deploy"):
            names.setdefault(path.name, []).append(str(path))
    usual = {"__init__.py", "__main__.py"}
    assert {n: where for n, where in names.items() if len(where) > 2 and n not in usual} == {}
