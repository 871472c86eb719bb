"""A run of many requests of all kinds, counted a second time without SQL."""

import random
from collections import Counter
from typing import Any

import pytest

from tests.accounting.landing import no_answer
from tests.support.runs import Failed, MadeRun, ask

REQUESTS = 3000
HOWS = ("refused", "died", "connect_timeout", "timeout", "busy")
EFFECTS = ("read", "read", "create", "replace", "change", "delete")


def random_request(run: MadeRun, id: str, chance: random.Random) -> None:
    """Any combination, also such as no stack would ever leave behind."""
    changes: dict[str, Any] = {}
    if chance.random() < 0.3:
        errors = ("reset", "closed", "timeout", "refused", "unsent", "stopped", "other", "")
        changes["client"] = no_answer(chance.choice(errors))
    if chance.random() < 0.1:
        changes["client"] = {"wrong": "something"}
    for part in ("proxy", "begin", "end", "applied", "held"):
        if chance.random() < 0.15:
            changes[part] = None
    if "proxy" not in changes and chance.random() < 0.1:
        changes["proxy"] = dict.fromkeys(("addrs", "statuses"), "")
    run.request(
        id,
        at=chance.uniform(99, 135),
        took=chance.choice((0.01, 0.02, 0.5)),
        instance=f"api-{chance.randint(1, 4)}",
        effect=chance.choice(EFFECTS),  # type: ignore[arg-type]
        key=chance.choice((None, "")),
        status=chance.choice((0, 0, 0, 200, 404, 500, 502, 503, 504)),
        failed=[
            Failed(f"api-{chance.randint(1, 4)}", chance.choice(HOWS), 0.01)  # type: ignore[arg-type]
            for _ in range(chance.choice((0, 0, 0, 1, 2, 3)))
        ],
        **changes,
    )
    if chance.random() < 0.05:
        run.request(f"{id}.1", client=None, failed=[Failed("api-1")])
    if chance.random() < 0.02:
        run.proxy(id, proxy_id=f"again-{id}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = MadeRun(tmp_path_factory.mktemp("run"))
    made.phases()
    chance = random.Random(5)
    for number in range(REQUESTS):
        random_request(made, f"a-{number}", chance)
    made.write()
    return made


def one(run: MadeRun, question: str) -> dict[str, Any]:
    (row,) = ask(run.run, question)
    return row


def test_every_row_is_one_request_with_one_outcome_and_one_cause(run: MadeRun) -> None:
    found = one(
        run,
        "SELECT count(*) AS rows, count(DISTINCT seq) AS seqs, count(DISTINCT id) AS ids, "
        "count(*) FILTER ((cause = '') <> (outcome = 'answered')) AS misplaced, "
        "count(*) FILTER (delay_cause <> '' AND outcome <> 'answered') AS delayed, "
        "count(*) FILTER (outcome <> 'answered' AND detail = '') AS untold FROM requests",
    )
    assert found == {
        "rows": REQUESTS, "seqs": REQUESTS, "ids": REQUESTS,
        "misplaced": 0, "delayed": 0, "untold": 0,
    }  # fmt: skip
    for column, table in (("outcome", "outcomes"), ("cause", "causes")):
        strange = ask(
            run.run,
            f"SELECT DISTINCT {column} FROM requests "
            f"WHERE {column} <> '' AND {column} NOT IN (SELECT name FROM {table})",
        )
        assert strange == []


def test_outcomes_add_up(run: MadeRun) -> None:
    counted: Counter[str] = Counter()
    for row in run.clients:
        if row.error == "unsent":
            counted["not_sent"] += 1
        elif row.status and row.status < 400 and not row.wrong:
            counted["answered"] += 1
        elif row.status or row.effect == "read" or row.error == "refused":
            counted["failed"] += 1
        else:
            counted["indeterminate"] += 1
    assert len(counted) == 4
    found = ask(run.run, "SELECT outcome, count(*) AS requests FROM requests GROUP BY outcome")
    assert {row["outcome"]: row["requests"] for row in found} == counted


def test_attempts_add_up(run: MadeRun) -> None:
    mine = {row.id for row in run.clients}
    lengths = [(row.id, len(row.addrs.split(", ")) if row.addrs else 0) for row in run.proxies]
    assert one(run, "SELECT count(*) AS attempts FROM attempts") == {
        "attempts": sum(length for _, length in lengths)
    }
    assert one(run, "SELECT sum(attempts)::INTEGER AS attempts FROM requests") == {
        "attempts": sum(length for id, length in lengths if id in mine)
    }
    moved = {row.id for row in run.proxies if len(set(filter(None, row.addrs.split(", ")))) > 1}
    found = ask(run.run, "SELECT id FROM requests WHERE retried")
    assert {row["id"] for row in found} == moved & mine


def test_what_others_saw_adds_up(run: MadeRun) -> None:
    mine = {row.id for row in run.clients}
    found = one(
        run,
        "SELECT sum(proxy_rows)::INTEGER AS proxied, sum(executions)::INTEGER AS executed, "
        "sum(effects)::INTEGER AS applied FROM requests",
    )
    assert found == {
        "proxied": sum(row.id in mine for row in run.proxies),
        "executed": sum(row.id in mine for row in run.services if row.kind == "begin"),
        "applied": sum(row.request_id in mine for row in run.effects),
    }
    assert one(run, "SELECT count(*) AS rows, count(ended) AS ends FROM executions") == {
        "rows": sum(row.kind == "begin" for row in run.services),
        "ends": sum(row.kind == "end" for row in run.services),
    }


def test_the_mix_has_all_sorts(run: MadeRun) -> None:
    """A sum over one kind of request would prove little."""
    causes = {row["cause"] for row in ask(run.run, "SELECT DISTINCT cause FROM requests")}
    assert len(causes) > 10


def test_the_views_agree(run: MadeRun) -> None:
    assert one(run, "SELECT sum(requests)::INTEGER AS rows FROM by_second") == {"rows": REQUESTS}
    bad = one(run, "SELECT count(*) AS rows FROM requests WHERE outcome <> 'answered'")
    assert one(run, "SELECT sum(requests)::INTEGER AS rows FROM by_cause") == bad
    told = ask(run.run, "SELECT who, what FROM story('a-7')")
    assert told[0] == {
        "who": "client",
        "what": f"plans {run.clients[7].method} {run.clients[7].target}",
    }
