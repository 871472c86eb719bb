"""The open-loop load, broken on purpose: it sends every fiftieth request twice, as one row."""

from loadtest.exchange import Channel, _socket
from loadtest.openloop import OpenLoop
from loadtest.stencil import Request

__all__ = ["OpenLoop"]

once = Channel.begin


def twice(channel: Channel, request: Request, text: bytes) -> None:
    if request.number % 50 == 0:
        family, address = channel._address
        with _socket(family) as extra:
            extra.connect(address)
            extra.sendall(text)
            extra.recv(65_536)
    once(channel, request, text)


setattr(Channel, "begin", twice)  # noqa: B010 - it is not ours to assign
