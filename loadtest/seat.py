"""The place of one process in a load of several: which worker it is, and which file is its own.

Master and workers are Locust's. What they say to each other: distributed.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bulkhead.records import RowsEnd

WORKER = "BULKHEAD_LOAD_WORKER"
PORT_FILE = "BULKHEAD_LOAD_PORT_FILE"
MOST_WORKERS = 1000

# In BULKHEAD_CLIENT_ROWS it stands for the worker's number: each worker has a file of its own.
PLACE = "{worker}"


@dataclass(frozen=True)
class Seat:
    """What the environment says of it.

    `worker` is its number; None: the one that Locust's master gives it. That is what workers have
    that are started from one environment, as the replicas of a container are. `port_file` is where
    a master writes the port on which it listens, "" for nowhere.
    """

    worker: int | None = None
    port_file: str = ""


def read(environment: Mapping[str, str]) -> Seat:
    """The seat of one process.

    Raises:
        ValueError: a variable has a value that is not allowed; the message names both.
    """
    text = environment.get(WORKER) or ""
    number = int(text) if text.isdecimal() else -1
    if text and not 0 <= number < MOST_WORKERS:
        raise ValueError(f"{WORKER} = {text!r}: must be an integer from 0 to {MOST_WORKERS - 1}")
    return Seat(number if text else None, environment.get(PORT_FILE) or "")


def own_rows(path: str, worker: int) -> str:
    """The file of this worker; `path` itself when all of them share it.

    Raises:
        ValueError: it is its own and not new: rows of another load would be among its rows.
    """
    own = path.replace(PLACE, str(worker))
    if own != path and Path(own).exists():
        raise ValueError(f"BULKHEAD_CLIENT_ROWS = {path!r}: {own} is there already")
    return own


def sign(path: str, rows: int, early: bool) -> None:
    """Say beside the worker's own file that it is whole; see RowsEnd."""
    end = Path(f"{path}.end")
    made = end.with_name(f".{end.name}")
    made.write_bytes(msgspec.json.encode(RowsEnd(rows, early)))
    made.replace(end)  # it is there as a whole or not at all


def tell_port(path: str, port: int) -> None:
    """Write down on which port a master listens."""
    made = Path(f"{path}.part")
    made.write_text(f"{port}\n")
    made.replace(path)
