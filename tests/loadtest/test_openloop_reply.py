"""Reading an answer: the short cut takes the usual ones, and never reads one otherwise than the
full parser does."""

import random

import pytest
from geventhttpclient.response import HTTPParseError

from loadtest.answer import Answer, Reply, parsed, short_cut

USUAL = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    b'Connection: keep-alive\r\nETag: "3"\r\nIdempotent-Replayed: true\r\nVary: Accept\r\n'
    b'X-Request-ID: abc-17\r\nX-Instance: api-1\r\nX-Boot: 7.42\r\n\r\n{"a": 17}'
)
BARE = (
    b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n"
    b"X-Request-ID: abc-18\r\nX-Instance: api-2\r\nX-Boot: 7.43\r\n\r\n"
)


def read_fully(data: bytes) -> Reply | None:
    """What the full parser makes of it; None when that is not exactly one whole answer."""
    answer = Answer("GET")
    try:
        answer.feed(data)
    except HTTPParseError:
        return None
    return parsed(answer) if answer.finals == 1 and answer.message_complete else None


def test_a_usual_answer_is_read_by_the_short_cut() -> None:
    assert short_cut(USUAL) == Reply(
        200, b'{"a": 17}', "abc-17", "api-1", "7.42", replayed=True, reusable=True
    )
    assert short_cut(BARE) == Reply(
        204, b"", "abc-18", "api-2", "7.43", replayed=False, reusable=True
    )


@pytest.mark.parametrize("data", [USUAL, BARE, USUAL.replace(b"ETag", b"etag")])
def test_both_readers_agree_on_usual_answers(data: bytes) -> None:
    assert short_cut(data) == read_fully(data) is not None


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"Idempotent-Replayed", b"X-Request-ID", b"X-Instance", b"X-Boot"]
)
def test_a_header_name_in_another_case_or_place_is_read_by_the_full_parser(name: bytes) -> None:
    lower = USUAL.replace(name, name.lower())
    head, _, body = USUAL.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    lines.sort(key=lambda line: line.startswith(name))
    moved = b"\r\n".join([first, *lines]) + b"\r\n\r\n" + body
    assert read_fully(lower) == read_fully(moved) == short_cut(USUAL)
    assert short_cut(lower) is None
    assert short_cut(moved) in (None, short_cut(USUAL))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"keep-alive", b"close"),
        (b"keep-alive", b"Keep-Alive, close"),
        (b"keep-alive", b"upgrade"),
        (b"Vary: Accept", b"Connection: close"),
        (b"Vary: Accept", b"X-Instance: api-2"),
        (b"Vary: Accept", b"x-boot: 7.43"),
        (b"Server: nginx", b"Transfer-Encoding: chunked"),
        (b"Server: nginx", b"transfer-encoding: chunked"),
        (b"Server: nginx", b"Content-Length: 9"),
        (b"Server: nginx", b"content-length: 8"),
        (b"Server: nginx", b"Server : nginx"),
        (b"Server: nginx", b"Server"),
        (b"Server: nginx", b" folded"),
        (b"Server: nginx", b"Server: \x00"),
        (b"Content-Length: 9", b"Content-Length: 8"),
        (b"Content-Length: 9", b"Content-Length: 10"),
        (b"Content-Length: 9", b"Content-Length: +9"),
        (b"Content-Length: 9", b"Content-Length: -9"),
        (b"Content-Length: 9", b"Content-Length: 9, 9"),
        (b"Content-Length: 9", b"Content-Length: 0x9"),
        (b"Content-Length: 9", b"Content-Length:"),
        (b"Content-Length: 9", b"Content-Length: " + b"9" * 5000),
        (b"Content-Length: 9\r\n", b""),
        (b"HTTP/1.1 200", b"HTTP/1.0 200"),
        (b"HTTP/1.1 200", b"HTTP/1.1 100"),
        (b"HTTP/1.1 200", b"HTTP/1.1 20"),
        (b"HTTP/1.1 200", b"HTTP/1.1 2000"),
        (b"HTTP/1.1 200", b"HTTP/2 200"),
        (b"HTTP/1.1 200", b"HTTP/1.1 204"),
        (b"\r\n", b"\n"),
        (b'{"a": 17}', b'{"a": 17}' + USUAL),
        (b'{"a": 17}', b'{"a": 1'),
        (b"HTTP/1.1 200", b"\r\nHTTP/1.1 200"),
    ],
)
def test_anything_unusual_is_left_to_the_full_parser(old: bytes, new: bytes) -> None:
    assert old in USUAL
    assert short_cut(USUAL.replace(old, new)) is None


@pytest.mark.parametrize("end", range(len(USUAL)))
def test_a_part_of_an_answer_is_no_answer(end: int) -> None:
    assert short_cut(USUAL[:end]) is None


def test_whatever_the_short_cut_takes_the_full_parser_reads_the_same() -> None:
    """Tens of thousands of damaged answers: it may decline any of them, never disagree."""
    dice = random.Random(1)
    pieces = [b"\r\n", b"\n", b"\r", b": ", b":", b" ", b"\t", b"0", b"9", b"close", b"chunked"]
    pieces += [b"Content-Length: 9\r\n", b"Transfer-Encoding: ", b"Connection: ", b"\x00", b"\xff"]
    pieces += [b"X-Instance: api-2\r\n", b"Idempotent-Replayed: true\r\n", b"x-boot: \r\n"]
    taken = disagreed = 0
    for _ in range(60_000):
        data = bytearray(dice.choice((USUAL, BARE)))
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(data))
            data[place : place + dice.choice((0, 0, 1, 4))] = dice.choice(pieces)
        reply = short_cut(bytes(data))
        if reply is not None:
            taken += 1
            disagreed += reply != read_fully(bytes(data))
    assert disagreed == 0
    assert taken > 3_000, "else it proves little"
