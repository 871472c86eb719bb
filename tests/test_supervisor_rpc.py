"""A supervisord that does not answer is one kind of error, whatever it was that failed."""

import socket
from pathlib import Path

import pytest

from bulkhead.errors import StateError
from bulkhead.supervisor_rpc import GONE, NotAnsweringError, Supervisord


def test_without_a_socket_it_is_absent(tmp_path: Path) -> None:
    supervisord = Supervisord(tmp_path / "none.sock", 1)
    with pytest.raises(NotAnsweringError, match=r"^supervisord does not answer \(.*No such") as no:
        supervisord.programs()
    assert no.value.absent
    assert isinstance(no.value, GONE)
    assert isinstance(no.value, StateError)
    assert not supervisord.answers()
    assert not supervisord.shutdown()


def test_a_hung_one_is_not_absent(tmp_path: Path) -> None:
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(path))
        hung.listen()
        with pytest.raises(NotAnsweringError, match="timed out") as no:
            Supervisord(path, 0.1).find("api-1")
    assert not no.value.absent


def test_a_command_may_add_lines_to_the_error(tmp_path: Path) -> None:
    """As a roll does, which says what has become of the instances."""
    with pytest.raises(NotAnsweringError) as no:
        Supervisord(tmp_path / "none.sock", 1).end("api-1", 1)
    error = no.value
    longer = type(error)(*error.lines, "untouched: api-2")
    assert longer.lines == (*error.lines, "untouched: api-2")
