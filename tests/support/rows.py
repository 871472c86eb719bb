"""The rows of a file that is being written."""

from pathlib import Path

import msgspec

from bulkhead.records import Row


def rows_so_far(path: Path, shape: type[Row]) -> list[Row]:
    """Every whole row, in file order.

    Linux appends a line at once but shows it page by page: who reads meanwhile can see its first
    part, up to a multiple of 4,096 bytes of the file.
    """
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    decoder = msgspec.json.Decoder(shape)
    return [decoder.decode(line.decode(errors="replace")) for line in whole.split(b"\n") if line]
