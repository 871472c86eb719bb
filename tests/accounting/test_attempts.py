"""The join of client and proxy rows, with hand-made rows."""

from typing import Any

from bulkhead.accounting.attempts import Attempts, attempts
from bulkhead.records import ClientRow, ProxyRow


def client(request_id: str, status: int = 200) -> ClientRow:
    return ClientRow(
        id=request_id,
        name="GET /",
        method="GET",
        target="/",
        planned=1.0,
        sent=1.0,
        done=1.1,
        status=status,
    )


def proxy(request_id: str, addrs: str) -> ProxyRow:
    values: dict[str, Any] = dict.fromkeys(ProxyRow.__struct_fields__, "")
    return ProxyRow(**values | {"id": request_id, "addrs": addrs})


ONE, TWO = "127.0.0.1:8101", "127.0.0.1:8102"


def test_requests_that_moved_on_are_counted_once_whatever_their_tries() -> None:
    rows = [
        proxy("a", ONE),
        proxy("b", f"{ONE}, {TWO}"),
        proxy("c", f"{ONE}, {TWO}, {ONE}"),
        proxy("waited and went on", f"{ONE} : {TWO}"),
        proxy("waited and came back", f"{ONE}, api : {ONE}"),
        proxy("found nobody", " : api"),
        proxy("by itself", ""),
    ]
    found = attempts([client(row.id) for row in rows], rows)
    assert found == Attempts(logged=7, moved_on=3, unknown=())


def test_an_answered_request_that_the_proxy_does_not_know_is_named() -> None:
    assert attempts([client("a"), client("b")], [proxy("a", ONE)]).unknown == ("b",)


def test_an_unanswered_request_may_be_unknown_to_the_proxy() -> None:
    """A refused connect, or a worker that died with the request."""
    assert attempts([client("a", status=0)], []) == Attempts(0, 0, ())


def test_the_traffic_of_others_is_left_out() -> None:
    found = attempts([client("a")], [proxy("a", ONE), proxy("other", f"{ONE}, {TWO}")])
    assert found == Attempts(logged=1, moved_on=0, unknown=())
