"""Where a request without a whole answer lands, and what must not land there."""

from typing import Any

import pytest

from tests.accounting.landing import (
    ALL_KILLED,
    INSTANCE_KILLED,
    KILLED,
    MASTER_KILLED,
    NOBODY,
    RELOADED,
    SKIPPED,
    Case,
    Row,
    cases,
    landed,
    no_answer,
)
from tests.support.runs import OFFSET, Failed, MadeRun, attempts

LEFT = attempts([Failed("api-2", "left", 12.0)]) | {"status": 499, "complete": ""}


def at_worker(
    run: MadeRun, id: str, sent: float, done: float, error: str = "reset", **more: Any
) -> None:
    """A request that nginx never logged, under way from `sent` to `done`."""
    times = {"planned": sent, "sent": sent, "done": done}
    run.request(id, client=no_answer(error, **times), **{"proxy": None} | more)


def cut_off(run: MadeRun, id: str, error: str = "closed", proxy: Row | None = None) -> None:
    """api-1 began its answer and died. nginx passes on what it has and calls that complete."""
    run.request(id, client=no_answer(error), proxy=proxy or {}, end=None)


CASES = [
    *cases(
        "not_sent",
        "not_sent",
        a_read_never_sent=lambda run, id: run.request(
            id, client=no_answer("unsent", sent=0.0), proxy=None, **NOBODY
        ),
        a_write_never_sent=lambda run, id: run.request(
            id, effect="create", client=no_answer("unsent", sent=0.0), proxy=None, **NOBODY
        ),
    ),
    *cases(
        "failed",
        "client_stopped",
        a_read_that_was_stopped=lambda run, id: run.request(id, client=no_answer("stopped")),
    ),
    *cases(
        "indeterminate",
        "client_stopped",
        a_write_that_was_stopped=lambda run, id: run.request(
            id, effect="change", client=no_answer("stopped")
        ),
    ),
    *cases(
        "indeterminate",
        "client_left",
        a_read_that_its_client_left=lambda run, id: run.request(id, client=no_answer("gave_up")),
        a_write_that_its_client_left=lambda run, id: run.request(
            id, effect="change", client=no_answer("gave_up")
        ),
    ),
    *cases(
        "failed",
        "proxy_refused",
        a_refused_read=lambda run, id: run.request(
            id, client=no_answer("refused"), proxy=None, **NOBODY
        ),
        a_refused_write=lambda run, id: run.request(
            id, effect="replace", client=no_answer("refused"), proxy=None, **NOBODY
        ),
    ),
    *cases(
        "failed",
        "unexplained",
        refused_but_logged=lambda run, id: run.request(id, client=no_answer("refused")),
    ),
    *cases(
        "failed",
        "client_timeout",
        a_read_that_took_too_long=lambda run, id: run.request(
            id,
            client=no_answer("timeout", done=115.0),
            proxy=LEFT | {"ended": OFFSET + 115.0, "took": 12.0},
        ),
        too_long_and_never_logged=lambda run, id: run.request(
            id, client=no_answer("timeout"), proxy=None, **NOBODY
        ),
        answered_just_too_late=lambda run, id: run.request(
            id, client=no_answer("timeout", done=115.0), proxy={"ended": OFFSET + 114.9}
        ),
    ),
    *cases(
        "indeterminate",
        "client_timeout",
        a_write_that_took_too_long=lambda run, id: run.request(
            id, effect="create", client=no_answer("timeout"), proxy=LEFT
        ),
    ),
    *cases(
        "failed",
        "unexplained",
        answered_long_before_the_client_gave_up=lambda run, id: run.request(
            id, client=no_answer("timeout", done=115.0)
        ),
    ),
    *cases(
        "failed",
        "proxy_worker_died",
        in_a_killed_workers_hands=lambda run, id: at_worker(run, id, KILLED - 0.1, KILLED + 0.005),
        sent_while_it_died=lambda run, id: at_worker(run, id, KILLED + 0.005, KILLED + 0.02),
        by_a_client_that_looked_late=lambda run, id: at_worker(
            run, id, KILLED - 0.1, KILLED + 0.5, "closed"
        ),
        in_hand_when_everything_was_killed=lambda run, id: at_worker(
            run, id, ALL_KILLED - 0.1, ALL_KILLED + 0.005
        ),
    ),
    *cases(
        "indeterminate",
        "proxy_worker_died",
        a_write_in_a_killed_workers_hands=lambda run, id: at_worker(
            run, id, KILLED - 0.1, KILLED + 0.005, effect="create"
        ),
    ),
    *cases(
        "failed",
        "unexplained",
        over_before_the_worker_died=lambda run, id: at_worker(run, id, KILLED - 1, KILLED - 0.01),
        sent_after_the_worker_died=lambda run, id: at_worker(run, id, KILLED + 0.02, KILLED + 0.1),
        reset_long_after_the_worker_died=lambda run, id: at_worker(run, id, KILLED - 1, KILLED + 2),
        in_hand_but_logged=lambda run, id: at_worker(
            run, id, KILLED - 0.1, KILLED + 0.005, proxy=LEFT
        ),
        in_hand_but_nonsense=lambda run, id: at_worker(
            run, id, KILLED - 0.1, KILLED + 0.005, "other"
        ),
        when_a_kill_was_skipped=lambda run, id: at_worker(run, id, SKIPPED - 1, SKIPPED + 0.005),
        when_an_instance_was_killed=lambda run, id: at_worker(
            run, id, INSTANCE_KILLED - 1, INSTANCE_KILLED + 0.005
        ),
    ),
    *cases(
        "failed",
        "idle_closed",
        sent_while_nginx_reloaded=lambda run, id: at_worker(
            run, id, RELOADED + 0.005, RELOADED + 0.006, **NOBODY
        ),
        on_a_connection_of_a_late_worker=lambda run, id: at_worker(
            run, id, RELOADED + 0.4, RELOADED + 0.401, "closed", **NOBODY
        ),
        on_a_connection_of_a_dead_masters_worker=lambda run, id: at_worker(
            run, id, MASTER_KILLED + 1.9, MASTER_KILLED + 1.901, "closed", **NOBODY
        ),
    ),
    *cases(
        "indeterminate",
        "idle_closed",
        a_write_sent_while_nginx_reloaded=lambda run, id: at_worker(
            run, id, RELOADED + 0.005, RELOADED + 0.006, effect="create", **NOBODY
        ),
    ),
    *cases(
        "failed",
        "unexplained",
        sent_before_the_reload=lambda run, id: at_worker(
            run, id, RELOADED - 0.1, RELOADED + 0.005, **NOBODY
        ),
        sent_after_the_reload=lambda run, id: at_worker(
            run, id, RELOADED + 0.6, RELOADED + 0.601, **NOBODY
        ),
        sent_after_a_dead_masters_workers_had_gone=lambda run, id: at_worker(
            run, id, MASTER_KILLED + 2.6, MASTER_KILLED + 2.601, **NOBODY
        ),
        sent_after_everything_was_killed=lambda run, id: at_worker(
            run, id, ALL_KILLED + 0.1, ALL_KILLED + 0.2
        ),
        executed_while_nginx_reloaded=lambda run, id: at_worker(
            run, id, RELOADED + 0.005, RELOADED + 0.006
        ),
    ),
    *cases(
        "failed",
        "truncated",
        cut_off_by_its_instance=cut_off,
        reset_in_its_answer=lambda run, id: cut_off(run, id, "reset"),
        cut_off_to_nginxs_knowledge=lambda run, id: cut_off(run, id, proxy={"complete": ""}),
        retried_and_cut_off=lambda run, id: run.request(
            id, client=no_answer("closed"), failed=[Failed("api-2", "died")], end=None
        ),
        half_a_chunk=lambda run, id: cut_off(run, id, "other"),
    ),
    *cases(
        "indeterminate",
        "truncated",
        a_write_whose_answer_was_cut_off=lambda run, id: run.request(
            id, effect="delete", client=no_answer("closed")
        ),
    ),
    *cases(
        "failed",
        "unexplained",
        cut_off_before_any_answer=lambda run, id: cut_off(
            run, id, proxy=attempts([Failed("api-1", "died")]) | {"status": 502}
        ),
        a_file_of_nginx_cut_off=lambda run, id: cut_off(run, id, proxy=attempts([]) | {}),
        not_an_answer_of_http=lambda run, id: cut_off(run, id, "other", {"status": 9}),
        closed_but_nginx_says_the_client_left=lambda run, id: cut_off(run, id, proxy=LEFT),
        no_answer_and_no_error=lambda run, id: run.request(id, client=no_answer("")),
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    return landed(tmp_path_factory.mktemp("run"), CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_lands_where_the_evidence_puts_it(case: Case, found: dict[str, Row]) -> None:
    row = found[case.name]
    assert (row["outcome"], row["cause"]) == (case.outcome, case.cause), row["detail"]
    assert row["latency_s"] is None
    assert row["delay_cause"] == ""


def test_the_evidence_is_told_in_short(found: dict[str, Row]) -> None:
    assert {
        name: found[name]["detail"]
        for name in (
            "a-read-never-sent",
            "a-refused-read",
            "a-read-that-took-too-long",
            "too-long-and-never-logged",
            "in-a-killed-workers-hands",
            "cut-off-by-its-instance",
        )
    } == {
        "a-read-never-sent": "unsent",
        "a-refused-read": "refused",
        "a-read-that-took-too-long": "timeout: proxy 499: api-2 left by its client",
        "too-long-and-never-logged": "timeout: no proxy row",
        "in-a-killed-workers-hands": "reset: no proxy row",
        "cut-off-by-its-instance": "closed: proxy 200: api-1 answer",
    }
