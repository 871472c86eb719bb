"""What the documents promise exists, and what exists is documented."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from bulkhead import errors
from bulkhead.cli import EPILOG, main
from bulkhead.topology.model import (
    HostsSection,
    ProxySection,
    Section,
    ServiceSection,
    StackSection,
)

SETTINGS = Path("docs/settings.md").read_text()
DRILLS = Path("docs/drills.md").read_text()
README = Path("README.md").read_text()


def documented(prefix: str) -> dict[str, str]:
    """Key -> default, from the tables of docs/settings.md."""
    rows = re.findall(rf"^\| `{re.escape(prefix)}\.(\w+)` \| (.*?) \|", SETTINGS, re.MULTILINE)
    return dict(rows)


def check(section: type[Section], prefix: str) -> None:
    found = documented(prefix)
    assert list(found) == list(section.model_fields), prefix
    for name, field in section.model_fields.items():
        if field.default is PydanticUndefined:
            assert found[name] == "required"
        elif field.default not in (None, {}):
            assert found[name] == f"`{json.dumps(field.default)}`", f"{prefix}.{name}"


def test_every_setting_is_documented_with_its_default() -> None:
    check(StackSection, "stack")
    check(ProxySection, "proxy")
    check(HostsSection, "hosts")
    check(ServiceSection, "services.NAME")


def test_every_exit_code_is_in_the_help() -> None:
    codes = {
        one.code
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.BulkheadError)
    }
    assert codes == {1, 2, 3, 4, 5, 6, 7}
    listed = re.findall(r"(?:^|\s)(\d+) [a-z]", EPILOG.partition("exit codes:")[2])
    assert {int(code) for code in listed} >= codes


def test_every_make_target_has_help_and_every_named_one_exists() -> None:
    makefile = Path("Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == targets
    for page in (README, *(path.read_text() for path in Path("docs").rglob("*.md"))):
        assert set(re.findall(r"`make ([a-z-]+)", page)) <= targets


def test_the_readme_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.partition("VERB")[2].partition("examples:")[0]
    verbs = re.findall(r"^    ([a-z]+) ", listed, re.MULTILINE)
    assert {"up", "down", "load"} <= set(verbs)
    for verb in verbs:
        assert f"bulkhead {verb}" in README or f"make {verb}" in README, verb


def test_the_readme_fits_on_two_screens() -> None:
    assert len(README.splitlines()) <= 150


PAGES = sorted(path for path in Path("docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_begins_with_what_its_reader_can_do_after_it(page: Path) -> None:
    title, empty, first = page.read_text().split("\n")[:3]
    assert title.startswith("# ")
    assert empty == ""
    assert first.startswith("After this page you ")


@pytest.mark.parametrize(
    "page",
    [Path("README.md"), Path("ARCHITECTURE.md"), *PAGES, *Path("docs/decisions").glob("*.md")],
    ids=lambda path: path.stem,
)
def test_prose_is_wrapped_at_120(page: Path) -> None:
    code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        code ^= line.startswith("```")
        prose = not code and not line.startswith(("|", "    ")) and "](" not in line[120:]
        assert not prose or len(line) <= 120, f"{page}:{number} has {len(line)} characters"


def test_the_table_of_drills_is_that_of_the_files() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| (\w+) \|", DRILLS, re.MULTILINE)
    files = [(path.stem, tomllib.loads(path.read_text())) for path in Path("drills").glob("*.toml")]
    assert sorted(rows) == sorted((n, one["title"], one["predicts"]) for n, one in files)


LIVES = ("docs/life-of-a-request.md", "docs/life-of-a-death.md")


@pytest.mark.parametrize("page", LIVES)
def test_every_step_of_a_life_names_a_function_that_exists(page: str) -> None:
    steps = re.split(r"^\d+\. ", Path(page).read_text(), flags=re.MULTILINE)[1:]
    assert len(steps) > 7
    for step in steps:
        named = re.findall(r"`([\w/]+\.(?:py|lua)):([\w.]+)`", step)
        assert named or "`supervisor/launch`" in step or "`nginx/" in step, step
        for path, name in named:
            last = name.rpartition(".")[2]
            defined = rf"^\s*(?:async )?(?:def|class|function|local function) (?:M\.)?{last}\b"
            assert re.search(defined, Path(path).read_text(), re.MULTILINE), f"{path}:{name}"
