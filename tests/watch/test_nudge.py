"""Wishes for programs: what one round of them may do that began before the wish was fulfilled."""

from pathlib import Path

from bulkhead.watch.calls import Calls, Program
from bulkhead.watch.nudge import Nudger


class Asked(Calls):
    """Notes what supervisord would have been asked for."""

    def __init__(self, socket: Path) -> None:
        super().__init__(socket, timeout_s=1)
        self.names: list[str] = []

    def again(self, program: Program) -> None:
        """Stop and start it."""
        self.names.append(program.name)


def test_what_is_no_longer_wanted_keeps_its_pause(tmp_path: Path) -> None:
    """Its process came and died while the round was under way: the next pause is the watchdog's."""
    nudger, asked = Nudger(tmp_path / "nobody.sock", print), Asked(tmp_path)
    dead = Program("api-1", "api", "BACKOFF", 0, "")
    assert nudger.pursue(asked, dead, "api-1", since=1.0) == ""
    assert asked.names == []
