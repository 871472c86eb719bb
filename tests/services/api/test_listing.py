"""Listing entries: filters, limits and paging that new entries do not disturb."""

import pytest

from tests.services.api.processes import Api

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"


def ids(api: Api, query: str) -> list[str]:
    return [entry["memo"] for entry in api.get(f"{ENTRIES}?{query}").json()["entries"]]


def fill(api: Api, account: str, count: int) -> None:
    for number in range(count):
        draft = {"account": account, "amount": number, "memo": str(number)}
        assert api.request("POST", ENTRIES, draft).status == 201


def test_newest_first_and_filtered(api: Api) -> None:
    fill(api, "filters", 6)
    assert ids(api, "account=filters") == ["5", "4", "3", "2", "1", "0"]
    assert ids(api, "account=filters&min_amount=2&max_amount=4") == ["4", "3", "2"]
    assert ids(api, "account=filters&max_amount=-1") == []
    assert ids(api, "account=filters&min_amount=4&max_amount=2") == []
    assert ids(api, "account=nobody") == []


def test_pages_are_stable_while_entries_are_added_and_deleted(api: Api) -> None:
    fill(api, "pages", 7)
    seen, cursor = [], ""
    while True:
        page = api.get(f"{ENTRIES}?account=pages&limit=3{cursor}").json()
        seen += [entry["memo"] for entry in page["entries"]]
        assert len(page["entries"]) <= 3
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        fill(api, "pages", 2)
        # The entry that the cursor was made from may go: the place stays.
        api.request("DELETE", f"{ENTRIES}/{page['entries'][-1]['id']}")
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_a_page_that_ends_exactly_has_no_next(api: Api) -> None:
    fill(api, "exact", 3)
    assert api.get(f"{ENTRIES}?account=exact&limit=3").json()["next_cursor"] is None


def test_fifty_by_default_and_two_hundred_at_most(api: Api) -> None:
    fill(api, "many", 60)
    assert len(ids(api, "account=many")) == 50
    assert len(ids(api, "account=many&limit=200")) == 60


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "out_of_range"),
        ("limit=201", 422, "out_of_range"),
        ("limit=" + "9" * 5000, 422, "out_of_range"),
        ("limit=ten", 400, "query_malformed"),
        ("limit=", 400, "query_malformed"),
        ("limit=1.0", 400, "query_malformed"),
        ("limit=%D9%A3", 400, "query_malformed"),  # an Arabic digit is no digit here
        ("limit=1&limit=2", 400, "query_malformed"),
        ("colour=red", 400, "query_malformed"),
        ("Limit=1", 400, "query_malformed"),
        ("account=", 400, "query_malformed"),
        ("account=a%20b", 400, "query_malformed"),
        ("account=%ff", 400, "query_malformed"),
        ("cursor=", 400, "query_malformed"),
        ("cursor=c0", 400, "query_malformed"),
        ("cursor=c" + "f" * 16, 400, "query_malformed"),
        ("min_amount=1000000000001", 422, "out_of_range"),
        ("max_amount=-1000000000001", 422, "out_of_range"),
    ],
)
def test_a_bad_query_is_refused(api: Api, query: str, status: int, code: str) -> None:
    answer = api.get(f"{ENTRIES}?{query}")
    assert (answer.status, answer.json()["error_code"]) == (status, code), answer.body


def test_the_refusal_of_an_unknown_argument_names_the_known_ones(api: Api) -> None:
    error = api.get(f"{ENTRIES}?colour=red").json()
    assert error == {
        "error_code": "query_malformed",
        "error_msg": "Query argument 'colour' is unknown.",
        "resolution": "Known query arguments: account, cursor, limit, max_amount, min_amount."
        " Give each at most once.",
    }
