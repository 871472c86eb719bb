"""The open-loop load, broken on purpose: it sends every fiftieth request twice, as one row."""

from loadtest.answer import Answer
from loadtest.channel import Channel, _socket
from loadtest.openloop import OpenLoop
from loadtest.requests import Request

__all__ = ["OpenLoop"]

once = Channel.begin


def twice(channel: Channel, request: Request, text: bytes, answer: Answer | None = None) -> None:
    if request.amount % 50 == 0:  # its number, on top of a round number
        family, address = channel._address()
        with _socket(family) as extra:
            extra.connect(address)
            extra.sendall(text)
            extra.recv(65_536)
    once(channel, request, text, answer)


setattr(Channel, "begin", twice)  # noqa: B010 - it is not ours to assign
