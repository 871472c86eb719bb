"""The ledger over HTTP: what each method answers, and what it refuses."""

import uuid
from typing import Any

import pytest

from tests.services.api.processes import Api

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"


def new_path() -> str:
    return f"{ENTRIES}/{uuid.uuid4().hex}"


def test_post_creates_an_entry_that_get_returns(api: Api) -> None:
    created = api.request("POST", ENTRIES, {"account": "a-1", "amount": -5, "memo": "für Ōsaka"})
    entry = created.json()
    assert created.status == 201
    assert created.headers["Location"] == f"{ENTRIES}/{entry['id']}"
    assert created.headers["ETag"] == '"1"'
    assert entry["created_at"] == entry["updated_at"]
    assert {name: entry[name] for name in ("account", "amount", "memo", "version")} == {
        "account": "a-1",
        "amount": -5,
        "memo": "für Ōsaka",
        "version": 1,
    }
    found = api.get(created.headers["Location"])
    assert (found.status, found.json(), found.headers["ETag"]) == (200, entry, '"1"')


def test_the_memo_is_empty_by_default(api: Api) -> None:
    assert api.add().json()["memo"] == ""


def test_put_creates_then_replaces(api: Api) -> None:
    path = new_path()
    first = api.request("PUT", path, {"account": "a", "amount": 1, "memo": "m"})
    assert (first.status, first.headers["ETag"], first.headers["Location"]) == (201, '"1"', path)
    second = api.request("PUT", path, {"account": "b", "amount": 2})
    assert (second.status, second.headers["ETag"], second.headers["Location"]) == (200, '"2"', None)
    entry = second.json()
    assert (entry["account"], entry["amount"], entry["memo"], entry["version"]) == ("b", 2, "", 2)
    assert entry["created_at"] == first.json()["created_at"]


def test_patch_changes_what_is_given(api: Api) -> None:
    path = new_path()
    before = api.request("PUT", path, {"account": "a", "amount": 1, "memo": "m"}).json()
    answer = api.request("PATCH", path, {"amount": 7})
    after = answer.json()
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    assert after == {**before, "amount": 7, "version": 2, "updated_at": after["updated_at"]}


def test_delete_then_everything_is_404_until_put(api: Api) -> None:
    path = new_path()
    api.request("PUT", path, {"account": "a", "amount": 1})
    deleted = api.request("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"amount": 2})):
        answer = api.request(method, path, body)
        assert (answer.status, answer.json()["error_code"]) == (404, "entry_not_found"), method


def test_a_post_may_choose_its_id_but_not_one_that_is_there(api: Api) -> None:
    path = new_path()
    body = {"account": "a", "amount": 1, "id": path.rpartition("/")[2]}
    created = api.request("POST", "/api/v1/entries", body)
    assert (created.status, created.headers["Location"]) == (201, path)
    again = api.request("POST", "/api/v1/entries", {**body, "amount": 2})
    assert (again.status, again.json()["error_code"]) == (409, "entry_exists")
    assert api.get(path).json()["amount"] == 1
    api.request("DELETE", path)
    assert api.request("POST", "/api/v1/entries", body).headers["ETag"] == '"3"'
    malformed = api.request("POST", "/api/v1/entries", {**body, "id": "a/b"})
    assert malformed.status == 422


def test_an_id_that_comes_back_never_reuses_a_version(api: Api) -> None:
    """Otherwise an old If-Match would hold for a content that its client never saw."""
    path = new_path()
    api.request("PUT", path, {"account": "a", "amount": 1})
    api.request("DELETE", path)
    again = api.request("PUT", path, {"account": "a", "amount": 2})
    assert (again.status, again.headers["ETag"]) == (201, '"3"')


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {"If-Match": '"1"'}, 200),
        ("PUT", {"If-Match": '"7", "1"'}, 200),
        ("PUT", {"If-Match": "*"}, 200),
        ("PUT", {"If-Match": '"2"'}, 412),
        ("PUT", {"If-Match": 'W/"1"'}, 412),  # weak tags never match strongly
        ("PUT", {"If-None-Match": "*"}, 412),
        ("PUT", {"If-None-Match": '"2"'}, 200),
        ("PATCH", {"If-Match": '"2"'}, 412),
        ("PATCH", {"If-Match": '"1"'}, 200),
        ("DELETE", {"If-Match": '"2"'}, 412),
        ("DELETE", {"If-Match": '"1"'}, 204),
        ("GET", {"If-None-Match": '"1"'}, 304),
        ("GET", {"If-None-Match": 'W/"1"'}, 304),
        ("GET", {"If-None-Match": '"2"'}, 200),
        ("GET", {"If-Match": '"2"'}, 412),
        ("HEAD", {"If-None-Match": "*"}, 304),
        ("PUT", {"If-Match": "1"}, 400),
        ("GET", {"If-None-Match": '"1'}, 400),
    ],
)
def test_conditions(api: Api, method: str, headers: dict[str, str], status: int) -> None:
    path = new_path()
    api.request("PUT", path, {"account": "a", "amount": 1})
    body = {"account": "b", "amount": 2} if method in ("PUT", "PATCH") else None
    answer = api.request(method, path, body, headers)
    assert answer.status == status
    if status == 412:
        assert answer.json()["error_code"] == "precondition_failed"
        assert api.get(path).json()["version"] == 1
    if status == 304:
        assert (answer.headers["ETag"], answer.body) == ('"1"', b"")


def test_conditions_on_an_entry_that_is_not_there(api: Api) -> None:
    draft = {"account": "a", "amount": 1}
    assert api.request("PUT", new_path(), draft, {"If-Match": "*"}).status == 412
    assert api.request("PUT", new_path(), draft, {"If-None-Match": "*"}).status == 201
    assert api.request("DELETE", new_path(), headers={"If-Match": "*"}).status == 404


DRAFT = {"account": "a", "amount": 1}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "body_malformed"),
        (b"{", 400, "body_malformed"),
        (b'{"account": "\xff", "amount": 1}', 400, "body_malformed"),
        (b'{"account": "a", "amount": 1, "memo": "\\ud800"}', 400, "body_malformed"),
        ([], 422, "body_invalid"),
        (None, 415, "media_type_unsupported"),
        ({"account": "a"}, 422, "body_invalid"),
        ({"amount": 1}, 422, "body_invalid"),
        ({**DRAFT, "unknown": 1}, 422, "body_invalid"),
        ({**DRAFT, "account": ""}, 422, "body_invalid"),
        ({**DRAFT, "account": "a" * 65}, 422, "body_invalid"),
        ({**DRAFT, "account": "a b"}, 422, "body_invalid"),
        ({**DRAFT, "account": "a\n"}, 422, "body_invalid"),
        ({**DRAFT, "account": None}, 422, "body_invalid"),
        ({**DRAFT, "amount": 10**12 + 1}, 422, "body_invalid"),
        ({**DRAFT, "amount": -(10**12) - 1}, 422, "body_invalid"),
        ({**DRAFT, "amount": 10**30}, 422, "body_invalid"),
        ({**DRAFT, "amount": 1.5}, 422, "body_invalid"),
        (b'{"account": "a", "amount": 1e-400}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 1.00000000000000000000001}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 999999999999.00000001}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 1000000000000.00000001}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 1e400}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 1e999999999}', 422, "body_invalid"),
        (b'{"account": "a", "amount": 1e-999999999}', 422, "body_invalid"),
        (b'{"account": "a", "amount": ' + b"9" * 500_000 + b"}", 422, "body_invalid"),
        (b'{"account": "a", "amount": 0.' + b"0" * 500_000 + b"1}", 422, "body_invalid"),
        (b'{"account": "a", "amount": ' + b"[" * 500_000 + b"}", 400, "body_malformed"),
        ({**DRAFT, "amount": True}, 422, "body_invalid"),
        ({**DRAFT, "amount": "1"}, 422, "body_invalid"),
        ({**DRAFT, "memo": "m" * 501}, 422, "body_invalid"),
        ({**DRAFT, "memo": None}, 422, "body_invalid"),
    ],
)
def test_a_bad_draft_is_refused_by_post_and_put(
    api: Api, body: object, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
    for method, path in (("POST", ENTRIES), ("PUT", new_path())):
        answer = api.request(method, path, body, headers)
        assert (answer.status, answer.json()["error_code"]) == (status, code), answer.body
        assert api.get(path).status == (200 if path == ENTRIES else 404)


@pytest.mark.parametrize("body", [{}, {"amount": None}, {"version": 2}, {"amount": 0.5}, []])
def test_a_bad_change_is_refused(api: Api, body: object) -> None:
    path = new_path()
    api.request("PUT", path, DRAFT)
    assert api.request("PATCH", path, body).status == 422
    assert api.get(path).json()["version"] == 1


@pytest.mark.parametrize(
    "draft",
    [
        {"account": "A.z_0-9" + "x" * 57, "amount": 10**12, "memo": "😀" * 500},
        {"account": "a", "amount": -(10**12), "memo": "\x01\n"},
        {"account": "a", "amount": 3.0},
        {"account": "a", "amount": 1e12},
    ],
)
def test_values_at_the_limits_are_kept_exactly(api: Api, draft: dict[str, Any]) -> None:
    entry = api.request("POST", ENTRIES, draft).json()
    assert {name: entry[name] for name in draft} == draft
    assert isinstance(entry["amount"], int)


@pytest.mark.parametrize("entry_id", ["", "a.b", "a%2Fb", "a" * 65, "%C3%A9", "%ff", "a%0A"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_impossible_id_is_400(api: Api, method: str, entry_id: str) -> None:
    body = DRAFT if method == "PUT" else None
    answer = api.request(method, f"{ENTRIES}/{entry_id}", body)
    assert answer.status == 400
    assert answer.json()["error_code"] in ("entry_id_malformed", "request_malformed")


def test_an_answer_of_the_ledger_is_an_entry_as_stored(api: Api) -> None:
    """GET gives the same bytes as the write did: one encoding of one entry."""
    created = api.add()
    assert api.get(created.headers["Location"]).body == created.body
