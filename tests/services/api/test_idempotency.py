"""Keys: a write that is repeated is applied once, on whichever instance, and answered the same."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.services.api.processes import Api, Fleet
from tests.support.http import Answer

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"
DRAFT = {"account": "a", "amount": 1}


def key() -> dict[str, str]:
    return {"Idempotency-Key": f"key:{uuid.uuid4()}"}


def new_path() -> str:
    return f"{ENTRIES}/{uuid.uuid4().hex}"


def content(answer: Answer) -> tuple[object, ...]:
    headers = answer.headers
    return answer.status, answer.body, headers["ETag"], headers["Location"]


def replayed(answer: Answer) -> bool:
    assert answer.headers["Idempotent-Replayed"] in (None, "true")
    return answer.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_replay_on_another_instance_is_the_first_answer(
    api: Api, twin: Api, shared_fleet: Fleet, method: str
) -> None:
    path = ENTRIES if method == "POST" else new_path()
    if method in ("PATCH", "DELETE"):
        api.request("PUT", path, DRAFT)
    body = None if method == "DELETE" else DRAFT
    headers = key()
    first = api.request(method, path, body, headers)
    second = twin.request(method, path, body, headers)
    assert first.status in (200, 201, 204)
    assert content(second) == content(first)
    assert (replayed(first), replayed(second)) == (False, True)
    applied = shared_fleet.sql('SELECT op FROM effects WHERE "key" = ?', headers["Idempotency-Key"])
    ops = {"POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}
    assert applied == [(ops[method],)]


def test_many_clients_with_one_key_have_one_effect(
    api: Api, twin: Api, shared_fleet: Fleet
) -> None:
    headers = key()
    with ThreadPoolExecutor(24) as clients:
        answers = list(
            clients.map(
                lambda n: (api, twin)[n % 2].request("POST", ENTRIES, DRAFT, headers), range(48)
            )
        )
    assert len({content(answer) for answer in answers}) == 1
    assert [replayed(answer) for answer in answers].count(False) == 1
    entry_id = answers[0].json()["id"]
    assert shared_fleet.sql("SELECT count(*) FROM entries WHERE id = ?", entry_id) == [(1,)]
    assert shared_fleet.sql(
        'SELECT entry_id, version FROM effects WHERE "key" = ?', headers["Idempotency-Key"]
    ) == [(entry_id, 1)]


def test_a_key_belongs_to_one_request(api: Api, twin: Api) -> None:
    headers, path = key(), new_path()
    assert api.request("PUT", path, DRAFT, headers).status == 201
    for method, target, body in (
        ("PUT", path, {**DRAFT, "amount": 2}),
        ("PUT", new_path(), DRAFT),
        ("PATCH", path, DRAFT),
    ):
        answer = twin.request(method, target, body, headers)
        assert (answer.status, answer.json()["error_code"]) == (422, "idempotency_key_reused")
        assert not replayed(answer)
    assert api.get(path).json()["version"] == 1


def test_a_refusal_that_the_ledger_decided_is_replayed(api: Api, twin: Api) -> None:
    """The state may change between two attempts; the answer must not."""
    path, gone, stale = new_path(), key(), key()
    assert api.request("DELETE", path, headers=gone).status == 404
    api.request("PUT", path, DRAFT)
    answer = twin.request("DELETE", path, headers=gone)
    assert (answer.status, replayed(answer)) == (404, True)

    condition = {"If-Match": '"2"'}
    assert api.request("PUT", path, DRAFT, {**stale, **condition}).status == 412
    api.request("PUT", path, DRAFT)
    answer = twin.request("PUT", path, DRAFT, {**stale, **condition})
    assert (answer.status, replayed(answer)) == (412, True)


def test_a_refusal_before_the_ledger_leaves_the_key_free(api: Api) -> None:
    headers = key()
    assert api.request("POST", ENTRIES, {"account": "a"}, headers).status == 422
    assert api.request("POST", ENTRIES, b"{", headers).status == 415
    answer = api.request("POST", ENTRIES, DRAFT, headers)
    assert (answer.status, replayed(answer)) == (201, False)


def test_a_late_attempt_of_the_proxy_overwrites_nothing(
    api: Api, twin: Api, shared_fleet: Fleet
) -> None:
    """nginx gave up on the first instance, was answered by the second, and then the first woke."""
    path, proxy_request = new_path(), uuid.uuid4().hex
    attempt = {"X-Proxy-Request": proxy_request}
    old = twin.request("PUT", path, {"account": "a", "amount": 1}, attempt)
    newer = {"X-Proxy-Request": uuid.uuid4().hex}
    assert twin.request("PUT", path, {"account": "a", "amount": 2}, newer).status == 200
    late = api.request("PUT", path, {"account": "a", "amount": 1}, attempt)
    assert (content(late), replayed(late)) == (content(old), True)
    assert api.get(path).json()["amount"] == 2
    keys = shared_fleet.sql('SELECT "key" FROM effects WHERE entry_id = ? ORDER BY seq', path[16:])
    assert keys == [(f"proxy:{proxy_request}",), (f"proxy:{newer['X-Proxy-Request']}",)]


def test_a_delete_that_the_proxy_repeats_is_not_404(api: Api, twin: Api) -> None:
    path, attempt = new_path(), {"X-Proxy-Request": uuid.uuid4().hex}
    api.request("PUT", path, DRAFT)
    assert api.request("DELETE", path, headers=attempt).status == 204
    assert twin.request("DELETE", path, headers=attempt).status == 204
    assert twin.request("DELETE", path).status == 404


def test_the_clients_key_goes_before_the_proxys(api: Api, shared_fleet: Fleet) -> None:
    headers = {**key(), "X-Proxy-Request": uuid.uuid4().hex}
    entry = api.request("POST", ENTRIES, DRAFT, headers).json()
    assert shared_fleet.sql('SELECT "key" FROM effects WHERE entry_id = ?', entry["id"]) == [
        (headers["Idempotency-Key"],)
    ]


def test_a_write_without_a_key_is_applied_every_time(api: Api, shared_fleet: Fleet) -> None:
    first, second = api.add(), api.add()
    assert first.json()["id"] != second.json()["id"]
    assert shared_fleet.sql('SELECT "key" FROM effects WHERE entry_id = ?', first.json()["id"]) == [
        (None,)
    ]


@pytest.mark.parametrize("value", ["", "a b", "k,k", "k" * 256, "\u00e9", '"k"'])
@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Proxy-Request"])
def test_a_malformed_key_is_400(api: Api, name: str, value: str) -> None:
    answer = api.request("POST", ENTRIES, DRAFT, {name: value})
    assert (answer.status, answer.json()["error_code"]) == (400, "header_malformed")


def test_a_key_may_use_all_its_characters(api: Api) -> None:
    headers = {"Idempotency-Key": "AZaz09._:~+/=@-" * 17}
    assert api.request("POST", ENTRIES, DRAFT, headers).status == 201
    assert replayed(api.request("POST", ENTRIES, DRAFT, headers))


def test_keys_are_kept_for_their_time_and_then_deleted_little_by_little(fleet: Fleet) -> None:
    api = fleet.start()
    now = time.time()
    api.request("POST", ENTRIES, DRAFT, {"Idempotency-Key": "client"})
    api.request("POST", ENTRIES, DRAFT, {"X-Proxy-Request": "proxy"})
    kept = dict(fleet.sql("SELECT key, expires FROM keys"))
    assert kept == {
        "client": pytest.approx(now + 24 * 3600, abs=10),
        "proxy:proxy": pytest.approx(now + 600, abs=10),
    }
    database = fleet.database()
    for number in range(5):
        database.execute(
            "INSERT INTO keys VALUES (?, x'00', 201, x'', NULL, NULL, ?)",
            (f"old-{number}", now - 1),
        )
    database.close()
    for left in (3, 1, 0):
        api.add()
        assert fleet.sql("SELECT count(*) FROM keys WHERE expires < ?", now) == [(left,)]
    assert len(fleet.sql("SELECT key FROM keys")) == 2


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_another_condition_is_another_request(api: Api, name: str) -> None:
    path, headers = new_path(), key()
    api.request("PUT", path, DRAFT)
    tags = ('"1"', '"7"') if name == "If-Match" else ('"7"', '"1"')
    assert api.request("PUT", path, DRAFT, headers | {name: tags[0]}).status == 200
    assert replayed(api.request("PUT", path, DRAFT, headers | {name: tags[0]}))
    for other in ({name: tags[1]}, {}):
        answer = api.request("PUT", path, DRAFT, headers | other)
        assert (answer.status, answer.json()["error_code"]) == (422, "idempotency_key_reused")


def test_a_client_cannot_choose_a_key_of_the_proxys(api: Api) -> None:
    path = new_path()
    api.request("PUT", path, DRAFT, {"X-Proxy-Request": "theirs"})
    for given in ("proxy:theirs", "proxy:"):
        answer = api.request("PUT", path, DRAFT, {"Idempotency-Key": given})
        assert (answer.status, answer.json()["error_code"]) == (400, "header_malformed")
        assert "not proxy: at the start" in answer.json()["resolution"]
    assert api.request("PUT", path, DRAFT, {"Idempotency-Key": "proxy"}).status == 200
