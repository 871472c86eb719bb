import pytest

from services.common.identity import REQUEST_ID, sub_request_id
from services.web.pages import KEY, EntryForm, new_key

GOOD = {"account": "alice", "amount": "12", "memo": ""}


@pytest.mark.parametrize(
    "fields",
    [
        GOOD,
        GOOD | {"account": "a.B-c_9"},
        GOOD | {"account": "  padded  "},
        GOOD | {"account": "a" * 64},
        GOOD | {"amount": "-1000000000000"},
        GOOD | {"amount": "+7"},
        GOOD | {"amount": "007"},
        GOOD | {"memo": "m" * 500},
        GOOD | {"memo": "x\r\n" * 250},  # 500 characters as the browser counts them
    ],
)
def test_a_good_form_has_no_errors(fields: dict[str, str]) -> None:
    assert EntryForm.sent(fields, "key").errors == {}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"account", "amount"}),
        (GOOD | {"account": "a b"}, {"account"}),
        (GOOD | {"account": "a" * 65}, {"account"}),
        (GOOD | {"account": "alice\n"}, set()),  # white space around a value is not meant
        (GOOD | {"account": "al\nice"}, {"account"}),
        (GOOD | {"amount": "1000000000001"}, {"amount"}),
        (GOOD | {"amount": "9" * 5000}, {"amount"}),  # int() itself refuses so many digits
        (GOOD | {"amount": "1.5"}, {"amount"}),
        (GOOD | {"amount": "1e3"}, {"amount"}),
        (GOOD | {"amount": "1_000"}, {"amount"}),  # int() would take it
        (GOOD | {"amount": "٣"}, {"amount"}),  # a digit, for int() at least
        (GOOD | {"memo": "m" * 501}, {"memo"}),
    ],
)
def test_each_mistake_is_found_in_its_field(fields: dict[str, str], wrong: set[str]) -> None:
    assert set(EntryForm.sent(fields, "key").errors) == wrong


def test_form_keys_are_well_formed_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(KEY.fullmatch(key) for key in keys)


def test_sub_request_ids_count_up() -> None:
    assert [sub_request_id("parent-id", number) for number in (1, 2, 3)] == [
        "parent-id.1",
        "parent-id.2",
        "parent-id.3",
    ]


def test_sub_request_ids_of_the_longest_id_stay_well_formed_and_differ() -> None:
    ids = [sub_request_id("r" * 128, number) for number in range(1, 13)]
    assert len(set(ids)) == 12
    assert all(REQUEST_ID.fullmatch(each) for each in ids)
