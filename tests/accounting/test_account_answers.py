"""Where a request with a whole answer lands, good or bad, and what must not land there."""

from typing import Any

import pytest

from tests.accounting.landing import (
    NOBODY,
    Case,
    Row,
    by_nginx,
    by_service,
    cases,
    held_up,
    landed,
    sub_request,
)
from tests.support.runs import OFFSET, Failed, MadeRun, attempts

NON_RETRYABLE: Row = {"effect": "create", "key": ""}
INJECTED: Row = {"fault": "errors"}

REFUSED = Failed("api-2", "refused")
DIED = Failed("api-2", "died")
SLOW = Failed("api-2", "timeout", 10.0)
FULL = Failed("api-2", "connect_timeout", 1.0)
BUSY = Failed("api-2", "busy")
# nginx logs the upstream's name when it has nobody left that it would try.
NOBODY_LEFT = Failed("api", "refused", 0.0)


def page(run: MadeRun, id: str, status: int = 503) -> None:
    """A page of web-1, which could not be made."""
    run.request(id, status=status, instance="web-1", client={"target": "/"}, proxy={"target": "/"})


def page_after(run: MadeRun, id: str, status: int, *tries: Failed, **sub: Any) -> None:
    """A page that could not be made because its sub-request failed."""
    page(run, id)
    sub_request(run, f"{id}.1", status, *tries, **sub)


def page_that_died(run: MadeRun, id: str) -> None:
    """web-1 died with a page after the page's sub-request had failed."""
    by_nginx(run, id, 502, Failed("web-1", "died"))
    sub_request(run, f"{id}.1", 502, REFUSED)


def page_through_another(run: MadeRun, id: str) -> None:
    """A page whose sub-request failed because of its own sub-request."""
    page_after(run, id, 503, BUSY)
    sub_request(run, f"{id}.1.1", 502, REFUSED)


def page_of_two_calls(run: MadeRun, id: str) -> None:
    """A page with two sub-requests that failed, one after the other."""
    page_after(run, id, 504, SLOW, ended=OFFSET + 103.2)
    sub_request(run, f"{id}.2", 502, REFUSED, ended=OFFSET + 103.1)


def sent_again(run: MadeRun, id: str) -> None:
    """A request that nginx got twice; the client's answer is that to the later one."""
    by_nginx(run, id, 504, FULL)
    earlier = attempts([SLOW]) | {"status": 504, "ended": OFFSET + 103.0}
    run.proxy(id, proxy_id="earlier", **earlier)


CASES = [
    *cases(
        "answered",
        "",
        a_good_read=lambda run, id: run.request(id),
        a_good_write=lambda run, id: run.request(id, effect="create"),
        a_redirect=lambda run, id: run.request(id, status=303),
        retried=lambda run, id: run.request(id, failed=[DIED]),
        answered_but_not_logged=lambda run, id: run.request(id, proxy=None),
    ),
    *cases(
        "failed",
        "wrong_answer",
        not_what_was_written=lambda run, id: run.request(id, client={"wrong": "another amount"}),
    ),
    *cases(
        "failed",
        "refused_everywhere",
        refused_by_all=lambda run, id: by_nginx(run, id, 502, REFUSED, Failed("api-3", "refused")),
        refused_and_nobody_left=lambda run, id: by_nginx(run, id, 502, REFUSED, NOBODY_LEFT),
        a_refused_non_retryable=lambda run, id: by_nginx(run, id, 502, REFUSED, **NON_RETRYABLE),
    ),
    *cases(
        "failed",
        "no_live_instance",
        nobody_to_try=lambda run, id: by_nginx(run, id, 502, NOBODY_LEFT),
        nobody_to_try_a_non_retryable=lambda run, id: by_nginx(
            run, id, 502, NOBODY_LEFT, **NON_RETRYABLE
        ),
    ),
    *cases(
        "failed",
        "no_live_instance",
        a_balancer_that_found_nobody=lambda run, id: by_nginx(
            run, id, 503, proxy={"addrs": "", "statuses": "503"}
        ),
        a_balancer_that_says_nothing=lambda run, id: by_nginx(
            run, id, 503, proxy={"addrs": "-", "statuses": "-"}
        ),
    ),
    *cases(
        "failed",
        "proxy_error",
        no_descriptor_for_a_connection=lambda run, id: by_nginx(
            run, id, 500, proxy={"addrs": "", "statuses": "-"}
        ),
    ),
    *cases(
        "failed",
        "queue_full",
        no_room_in_the_queue=lambda run, id: held_up(run, id, "down_queue_full"),
        refused_and_no_room_in_the_queue=lambda run, id: held_up(
            run, id, "down_queue_full", REFUSED
        ),
    ),
    *cases(
        "failed",
        "queue_timeout",
        queued_for_too_long=lambda run, id: held_up(run, id, "down_queue_timeout"),
        died_and_queued_for_too_long=lambda run, id: held_up(run, id, "down_queue_timeout", DIED),
        nobody_and_queued_for_too_long=lambda run, id: held_up(
            run, id, "down_queue_timeout", NOBODY_LEFT
        ),
        a_non_retryable_queued_for_too_long=lambda run, id: held_up(
            run, id, "down_queue_timeout", **NON_RETRYABLE
        ),
        a_page_whose_call_was_queued_for_too_long=lambda run, id: page_after(
            run, id, 503, gave_up="down_queue_timeout", queued=5.0
        ),
    ),
    *cases(
        "failed",
        "overloaded",
        no_room_among_the_waiting=lambda run, id: held_up(run, id, "busy_queue_full"),
        waited_for_too_long=lambda run, id: held_up(run, id, "busy_queue_timeout"),
        shed_and_waited_for_too_long=lambda run, id: held_up(run, id, "busy_queue_timeout", BUSY),
    ),
    *cases(
        "failed",
        "retry_budget",
        no_retry_left=lambda run, id: held_up(run, id, "retry_budget", DIED),
        no_retry_left_and_its_own_status=lambda run, id: held_up(
            run, id, "retry_budget", DIED, status=502
        ),
    ),
    *cases(
        "failed",
        "poison",
        three_died_with_it=lambda run, id: held_up(run, id, "poison", DIED, DIED, DIED, status=502),
    ),
    *cases(
        "failed",
        "tries_exhausted",
        died_and_nobody_left=lambda run, id: by_nginx(
            run,
            id,
            502,
            proxy=attempts([DIED])
            | {
                "addrs": "127.0.0.1:8102 : ",
                "statuses": "502 : ",
            },
        ),
    ),
    *cases(
        "failed",
        "reset_not_retried",
        died_with_a_non_retryable=lambda run, id: by_nginx(run, id, 502, DIED, **NON_RETRYABLE),
        retried_and_died_with_a_non_retryable=lambda run, id: by_nginx(
            run, id, 502, Failed("api-3", "refused"), DIED, **NON_RETRYABLE
        ),
    ),
    *cases(
        "failed",
        "tries_exhausted",
        died_and_refused=lambda run, id: by_nginx(run, id, 502, DIED, Failed("api-3", "refused")),
        died_everywhere=lambda run, id: by_nginx(run, id, 502, DIED, Failed("api-3", "died")),
        died_with_a_keyed_write=lambda run, id: by_nginx(run, id, 502, DIED, effect="create"),
        refused_and_then_a_504=lambda run, id: by_service(run, id, 504, REFUSED),
        refused_and_then_shed=lambda run, id: by_service(run, id, 503, REFUSED),
        two_groups=lambda run, id: by_nginx(
            run,
            id,
            502,
            proxy={
                "addrs": "127.0.0.1:8101 : 127.0.0.1:8102",
                "statuses": "504 : 502",
                "connect": "0.000 : -",
                "header": "- : -",
                "response": "10.0 : 0.0",
            },
        ),
        never_sent_in_two_ways=lambda run, id: by_nginx(
            run, id, 502, FULL, Failed("api-3", "refused"), **NON_RETRYABLE
        ),
    ),
    *cases(
        "failed",
        "upstream_timeout",
        timeouts=lambda run, id: by_nginx(run, id, 504, SLOW, Failed("api-3", "timeout", 10.0)),
        a_timeout_of_a_non_retryable=lambda run, id: by_nginx(
            run, id, 504, Failed("api-3", "refused"), SLOW, **NON_RETRYABLE
        ),
    ),
    *cases(
        "failed",
        "connect_timeout",
        sent_again_by_somebody=sent_again,
        queues_full=lambda run, id: by_nginx(
            run, id, 504, FULL, Failed("api-3", "connect_timeout", 1.0)
        ),
    ),
    *cases(
        "failed",
        "shed",
        busy=lambda run, id: by_service(run, id, 503),
        busy_everywhere=lambda run, id: by_service(run, id, 503, BUSY),
        busy_non_retryable=lambda run, id: by_service(
            run, id, 503, Failed("api-2", "refused"), **NON_RETRYABLE
        ),
        busy_and_not_logged=lambda run, id: by_service(run, id, 503, proxy=None),
    ),
    *cases(
        "failed",
        "injected_error",
        told_to_fail=lambda run, id: by_service(run, id, 503, end=INJECTED),
        told_to_answer_404=lambda run, id: by_service(run, id, 404, end=INJECTED),
        retried_and_told_to_fail=lambda run, id: by_service(run, id, 500, REFUSED, end=INJECTED),
        told_to_fail_and_not_logged=lambda run, id: by_service(
            run, id, 503, proxy=None, end=INJECTED
        ),
    ),
    *cases(
        "failed",
        "shed",
        told_to_be_slow=lambda run, id: by_service(run, id, 503, end={"fault": "slow"}),
        told_to_fail_otherwise=lambda run, id: by_service(
            run, id, 503, end=INJECTED | {"status": 500}
        ),
    ),
    *cases(
        "failed",
        "service_error",
        a_defect=lambda run, id: by_service(run, id, 500),
        retried_to_a_defect=lambda run, id: by_service(run, id, 500, REFUSED),
        a_502_of_its_own=lambda run, id: by_service(run, id, 502),
        a_defect_not_logged=lambda run, id: by_service(run, id, 500, proxy=None),
    ),
    *cases(
        "failed",
        "client_error",
        bad_request=lambda run, id: by_service(run, id, 400),
        bad_request_and_not_logged=lambda run, id: by_service(run, id, 400, proxy=None),
        not_found=lambda run, id: by_service(run, id, 404),
        retried_to_not_found=lambda run, id: by_service(run, id, 404, DIED),
        too_large_for_nginx=lambda run, id: by_nginx(run, id, 413),
        not_found_and_not_logged=lambda run, id: by_service(run, id, 404, proxy=None),
    ),
    *cases(
        "failed",
        "unexplained",
        nginx_fails_by_itself=lambda run, id: by_nginx(run, id, 500),
        an_error_of_nginx_not_logged=lambda run, id: run.request(
            id, client={"status": 502, "instance": "proxy"}, proxy=None, **NOBODY
        ),
        an_error_that_nobody_executed=lambda run, id: by_service(
            run, id, 503, proxy=None, begin=None
        ),
        another_status_than_nginxs=lambda run, id: run.request(id, client={"status": 502}),
        another_status_than_the_last_try=lambda run, id: by_nginx(run, id, 502, SLOW),
        a_good_try_and_a_bad_answer=lambda run, id: run.request(
            id, client={"status": 502}, proxy={"status": 502}
        ),
        a_try_that_was_left_and_another=lambda run, id: by_nginx(
            run, id, 502, Failed("api-3", "left"), REFUSED
        ),
        a_try_of_no_known_way=lambda run, id: by_nginx(
            run, id, 500, proxy=attempts([DIED]) | {"statuses": "500", "status": 500}
        ),
    ),
    *cases(
        "failed",
        "refused_everywhere",
        page_refused=lambda run, id: page_after(run, id, 502, REFUSED),
    ),
    *cases(
        "failed",
        "reset_not_retried",
        a_page_whose_call_died=lambda run, id: page_after(
            run, id, 502, DIED, request_class="non_retryable"
        ),
    ),
    *cases(
        "failed",
        "upstream_timeout",
        the_call_that_failed_last=page_of_two_calls,
        a_page_that_gave_up_on_its_call=lambda run, id: page_after(
            run, id, 499, Failed("api-2", "left"), complete=""
        ),
    ),
    *cases(
        "failed",
        "shed",
        a_page_that_shed=page,
        a_page_whose_call_went_well=lambda run, id: page_after(
            run, id, 200, Failed("api-2", "busy")
        ),
    ),
    *cases(
        "failed",
        "tries_exhausted",
        a_page_that_died_after_its_call_failed=page_that_died,
    ),
    *cases(
        "failed",
        "refused_everywhere",
        a_call_that_passed_a_failure_on=page_through_another,
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    return landed(tmp_path_factory.mktemp("run"), CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_lands_where_the_evidence_puts_it(case: Case, found: dict[str, Row]) -> None:
    row = found[case.name]
    assert (row["outcome"], row["cause"]) == (case.outcome, case.cause), row["detail"]
    assert row["latency_s"] == row["done"] - row["planned"]


def test_the_evidence_is_told_in_short(found: dict[str, Row]) -> None:
    assert {
        name: found[name]["detail"]
        for name in (
            "a-good-read",
            "not-what-was-written",
            "died-and-refused",
            "refused-and-nobody-left",
            "too-large-for-nginx",
            "page-refused",
            "another-status-than-nginxs",
            "busy-and-not-logged",
            "queued-for-too-long",
            "no-retry-left",
        )
    } == {
        "a-good-read": "",
        "not-what-was-written": "another amount: api-1 answer",
        "died-and-refused": "502: api-2 died, api-3 refused",
        "refused-and-nobody-left": "502: api-2 refused, no live instance",
        "too-large-for-nginx": "413: the proxy itself",
        "page-refused": "503: web-1 shed: sub-request page-refused.1: api-2 refused",
        "another-status-than-nginxs": "502: proxy 200: api-1 answer",
        "busy-and-not-logged": "503: no proxy row",
        "queued-for-too-long": "503: queued 5.000 s, gave up down_queue_timeout",
        "no-retry-left": "503: api-2 died, queued 5.000 s, gave up retry_budget",
    }
