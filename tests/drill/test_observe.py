"""events.jsonl: what cannot be written is told, and stops nobody who undoes a fault."""

from pathlib import Path

import pytest

from bulkhead.drill.observe import Events
from bulkhead.records import Event, read_rows


def test_events_are_written_as_they_happen(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events(path)
    t = events.note("phase", "warmup")
    assert list(read_rows(path, Event)) == [Event(t, "phase", "warmup")]
    events.require()
    events.close()


def test_a_full_disk_is_told_when_asked_for() -> None:
    events = Events(Path("/dev/full"))
    assert events.note("healed", "api-1", at=5.0) == 5.0
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            events.require()
    events.close()
