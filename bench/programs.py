"""What supervisord runs, as its own parser reads it; and how to run the same by hand."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAUNCHER = "launch"  # supervisor/launch RUN_DIR NAME PYTHON COMMAND...
BEFORE_COMMAND = 3


@dataclass(frozen=True)
class Command:
    """One program: its words, what its environment has besides supervisord's, and its folder."""

    words: list[str]
    environment: dict[str, str]
    folder: Path

    def bare(self, address: str) -> "Command":
        """The application by itself, at another address: not launched, and heard by nobody."""
        words = self.words
        place = next((at for at, word in enumerate(words) if Path(word).name == LAUNCHER), None)
        if place is not None:
            words = words[place + 1 + BEFORE_COMMAND :]
        environment = self.environment | {"BULKHEAD_ADDRESS": address}
        if "NOTIFY_SOCKET" in environment:  # it still speaks, to nobody
            environment["NOTIFY_SOCKET"] = f"{environment['NOTIFY_SOCKET']}.nobody"
        return Command(words, environment, self.folder)


def commands(conf: Path) -> dict[str, Command]:
    """Every program of a supervisord.conf, by its name."""
    from supervisor.options import ServerOptions  # it looks at sys.argv when it is imported

    options: Any = ServerOptions()
    options.realize(args=["-c", str(conf)])
    return {
        program.name: Command(
            shlex.split(program.command), dict(program.environment or {}), Path(program.directory)
        )
        for group in options.process_group_configs
        for program in group.process_configs
        if program.directory
    }
