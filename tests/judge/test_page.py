"""docs/verdict.md and the judge agree: the same checks, bounds, defaults and figures."""

import json
import re
from pathlib import Path

from bulkhead.judge import experiment, rules
from bulkhead.judge.bounds import LOWER, UPPER
from bulkhead.judge.case import VALUES
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import NAMES
from bulkhead.judge.judge import EVIDENCE
from bulkhead.judge.verdict import CODES

PAGE = Path("docs/verdict.md").read_text()


def section(title: str) -> str:
    """The text below a heading."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def names(text: str) -> list[str]:
    """The first column of the tables in a text; it may name several in one row."""
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_every_check_is_in_the_section_that_says_what_decides() -> None:
    invalid = section("Is there evidence, and was the run what was asked for?")
    assert names(invalid) == ["not_empty", *EVIDENCE]
    assert names(section("The promises")) == list(rules.PROMISES)
    for name in rules.NOTES:
        assert f"`{name}` is noted and decides nothing" in PAGE


def test_every_bound_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section("The bounds of a drill"), re.MULTILINE)
    defaults = {name: field.default for name, field in Expect.model_fields.items()}
    assert dict(rows) == {
        name: "none" if default is None else f"`{json.dumps(default)}`"
        for name, default in defaults.items()
    }
    upper, _, rest = section("The bounds of a drill").partition("Others that FAIL")
    assert names(upper) == list(UPPER)
    assert names(
        rest.partition("Lower bounds")[2].partition("Bounds on the run itself")[0]
    ) == list(LOWER)


def test_every_figure_is_documented() -> None:
    assert sorted(names(section("The figures"))) == sorted(NAMES)


def test_the_constants_on_the_page_are_those_of_the_code() -> None:
    for what in (
        f"more than {1000 * VALUES['service_clock']:g} ms before its request was sent",
        f"more than {VALUES['proxy_clock']:g} s before it",
        f"of more than {experiment.GAP_S:g} s, or of more than {experiment.GAP_ARRIVALS} mean gaps",
        f"within {VALUES['slack']:g} s of an injection of "
        + " or ".join(f"`{fault}`" for fault in VALUES["worker_faults"]),
        f"{100 * VALUES['good_share']:g} % of the requests were answered "
        f"within {VALUES['good_s']:g} s",
    ):
        assert what in PAGE, what
    assert experiment.PHASE_PART == 5, "the page says: a fifth"
    assert experiment.TARGET_PART == 50, "the page says: a fiftieth"


def test_the_exit_codes_on_the_page_are_those_of_the_code() -> None:
    found = re.findall(r"^\| (PASS|FAIL|INVALID) \| (\d) \|", PAGE, re.MULTILINE)
    assert {name: int(code) for name, code in found} == dict(CODES)
