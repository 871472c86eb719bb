"""What the documents promise exists, and what exists is documented."""

import json
import re
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
