"""The closed sets: the steps use them, the tables list them, and the documents explain them."""

import re
from pathlib import Path

import pytest

from bulkhead.accounting.account import STEPS
from bulkhead.rundir import RunDir
from tests.accounting import test_account_answers, test_account_delays, test_account_no_answer
from tests.accounting.landing import by_nginx
from tests.support.runs import Failed, MadeRun, ask

CAUSES = Path("docs/causes.md").read_text()
ACCOUNT = Path("docs/account.md").read_text()

# Which step decides about each set, and which column takes it.
DECIDED = {
    "outcomes": ("50-requests.sql", "outcome"),
    "causes": ("61-causes.sql", "cause"),
    "delay_causes": ("70-delays.sql", "delay_cause"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return MadeRun(tmp_path_factory.mktemp("run")).write()


@pytest.fixture(scope="module")
def listed(run: RunDir) -> dict[str, dict[str, str]]:
    """Name -> meaning, of every set."""
    return {
        table: {row["name"]: row["meaning"] for row in ask(run, f"FROM {table}")}
        for table in DECIDED
    }


def used(table: str) -> set[str]:
    """Every name that the step can decide upon."""
    step, column = DECIDED[table]
    text = re.sub(r"--.*", "", STEPS[step])
    assert f"AS {column}" in text
    return set(re.findall(r"(?:THEN|ELSE) '([a-z_]+)'", text))


@pytest.mark.parametrize("table", DECIDED)
def test_a_step_decides_upon_all_that_is_listed_and_nothing_else(
    table: str, listed: dict[str, dict[str, str]]
) -> None:
    assert used(table) == set(listed[table])


@pytest.mark.parametrize("table", DECIDED)
def test_every_one_has_its_place_in_the_document(
    table: str, listed: dict[str, dict[str, str]]
) -> None:
    title = table.replace("_", " ").capitalize()
    part = CAUSES.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    documented = re.findall(
        r"^### `(\w+)`\n\n((?:.+\n)+)\n- Evidence: (?:.+\n)+?- Do: .+$", part, re.MULTILINE
    )
    assert {name: " ".join(meaning.split()) for name, meaning in documented} == {
        name: f"{meaning[0].upper()}{meaning[1:]}." for name, meaning in listed[table].items()
    }


def test_every_one_has_a_test(listed: dict[str, dict[str, str]]) -> None:
    cases = test_account_answers.CASES + test_account_no_answer.CASES
    assert {case.outcome for case in cases} == set(listed["outcomes"])
    assert {case.cause for case in cases} == {"", *listed["causes"]}
    delays = {cause for cause, _ in test_account_delays.CASES.values()}
    assert delays == {"", *listed["delay_causes"]}


def test_every_table_and_column_is_documented(run: RunDir) -> None:
    tables: dict[str, set[str]] = {}
    for row in ask(run, "SELECT table_name, column_name FROM information_schema.columns"):
        tables.setdefault(row["table_name"], set()).add(row["column_name"])
    parts = re.split(r"^### `(\w+)`$", ACCOUNT.partition("## Questions")[0], flags=re.MULTILINE)
    documented = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(documented) == set(tables)
    for table, columns in tables.items():
        assert columns <= set(re.findall(r"`(\w+)`", documented[table])), table


def test_every_question_of_the_document_can_be_asked(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.injection(1, "kill", "api-1", 108.0)
    made.state("api-1", 108.0, "dead")
    made.watch(108.0, "exit", "api-1", "pid 8101")
    made.watch(108.1, "ready", "api-1", "pid 8105")
    made.request("a-1")
    by_nginx(made, "a-7", 502, Failed("api-1", "refused"), applied={}, effect="create")
    questions = re.findall(r"```sql\n(.+?)```", ACCOUNT, re.DOTALL)
    assert len(questions) == 7
    run = made.write()
    for question in questions:
        assert ask(run, question), question
