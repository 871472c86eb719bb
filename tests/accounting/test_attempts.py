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


def proxy(request_id: str, statuses: str) -> ProxyRow:
    values: dict[str, Any] = dict.fromkeys(ProxyRow.__struct_fields__, "")
    return ProxyRow(**values | {"id": request_id, "statuses": statuses})


def test_requests_that_moved_on_are_counted_once_whatever_their_tries() -> None:
    rows = [proxy("a", "200"), proxy("b", "502, 200"), proxy("c", "502, 504, 502")]
    found = attempts([client("a"), client("b"), client("c", 502)], rows)
    assert found == Attempts(logged=3, moved_on=2, unknown=())


def test_an_answered_request_that_the_proxy_does_not_know_is_named() -> None:
    assert attempts([client("a"), client("b")], [proxy("a", "200")]).unknown == ("b",)


def test_an_unanswered_request_may_be_unknown_to_the_proxy() -> None:
    """A refused connect, or a worker that died with the request."""
    assert attempts([client("a", status=0)], []) == Attempts(0, 0, ())


def test_the_traffic_of_others_is_left_out() -> None:
    found = attempts([client("a")], [proxy("a", "200"), proxy("other", "502, 200")])
    assert found == Attempts(logged=1, moved_on=0, unknown=())
