"""Answers, read by the full parser, or by a short cut for the usual ones."""

import re

import msgspec
from geventhttpclient.response import HTTPResponse


class Answer(HTTPResponse):
    """As much as the full parser has read of one answer, also when it never became whole."""

    def __init__(self, method: str) -> None:
        super().__init__(method=method)
        self.finals = 0

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        if self.get_code() >= 200:  # an interim 1xx answer is followed by the final one
            self.finals += 1

    @property
    def body(self) -> bytes:
        """The bytes of the body so far."""
        return bytes(self._body_buffer)

    def header(self, name: str) -> str:
        """The value of a header line; "" when it is absent or stands there more than once."""
        value = self.get(name)
        return value if isinstance(value, str) else ""


class Reply(msgspec.Struct, gc=False):
    """The parts of an answer that a row needs. `reusable`: its connection may be used again."""

    status: int
    body: bytes
    request_id: str
    instance: str
    boot: str
    replayed: bool
    reusable: bool


NO_REPLY = Reply(0, b"", "", "", "", replayed=False, reusable=False)


def parsed(answer: Answer) -> Reply:
    """The full parser's result: a whole answer, or as much of one as came."""
    return Reply(
        answer.status_code,
        answer.body,
        answer.header("x-request-id"),
        answer.header("x-instance"),
        answer.header("x-boot"),
        answer.header("idempotent-replayed") == "true",
        not answer.should_close(),
    )


# Almost every answer comes in one piece and looks as nginx writes it; to match it with one pattern
# takes a small part of the time that the full parser takes. The pattern leaves no other reading
# open: an answer with anything unusual in its headers, its length, its end or its connection is
# left to the parser, and so is a valid one that another server has written.
#
# _OTHERS matches the header lines that no reader of an answer uses. Not `)*+`: before 3.11.5 Python
# loses its place in a possessive group with a lookahead (CPython 100061).
_OTHERS = (
    rb"(?:(?!(?i:content-length|transfer-encoding|connection(?!: keep-alive\r)|x-request-id"
    rb"|x-instance|x-boot|idempotent-replayed):)"
    rb"[A-Za-z0-9_-]++: [!-~][ -~]*+(?<! )\r\n)*"
)
_USUAL = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) [ -~]*+\r\n"
    + _OTHERS
    + rb"(?:Content-Length: ([0-9]{1,9})\r\n)?"
    + _OTHERS
    + rb"(Idempotent-Replayed: true\r\n)?"
    + _OTHERS
    + rb"X-Request-ID: ([!-~]++)\r\nX-Instance: ([!-~]++)\r\nX-Boot: ([!-~]++)\r\n"
    + _OTHERS
    + rb"\r\n"
)


def short_cut(data: bytes) -> Reply | None:
    """The answer to anything but a HEAD, when `data` is exactly one usual and whole one."""
    match = _USUAL.match(data)
    if match is None:
        return None
    code, length, replayed, request_id, instance, boot = match.groups()
    status, body = int(code), data[match.end() :]
    bodiless = status in (204, 304)
    if bodiless != (length is None) or len(body) != int(length or 0):
        return None
    return Reply(
        status,
        body,
        request_id.decode("ascii"),
        instance.decode("ascii"),
        boot.decode("ascii"),
        replayed is not None,
        True,
    )
