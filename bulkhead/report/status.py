"""The status of a stack, for a terminal and for programs."""

from collections.abc import Sequence
from dataclasses import asdict

from bulkhead.control.status import ProcessStatus, StackStatus

HEADINGS = ("NAME", "SERVICE", "PID", "STATE", "READY", "RESTARTS", "UPTIME", "MEMORY", "ADDRESS")
RIGHT = {"PID", "RESTARTS", "UPTIME", "MEMORY"}
GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def as_dict(status: StackStatus) -> dict[str, object]:
    """The form that programs read: {"stack", "url", "home", "processes": [...]}."""
    return asdict(status)


def as_text(status: StackStatus, colour: bool) -> str:
    """A table of processes, and where the stack is."""
    rows = [row for one in status.processes for row in _rows(one)]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    lines = [_line(HEADINGS, widths), *(_line(row, widths) for row in rows)]
    if colour:
        lines[1:] = [
            line.replace(" yes ", f" {GREEN}yes{PLAIN} ").replace(" NO ", f" {RED}NO{PLAIN} ")
            for line in lines[1:]
        ]
    for one in status.processes:
        if one.printed:
            lines += ["", f"{one.name} keeps crashing; its log ends:", *one.printed]
    ready = sum(one.ready for one in status.processes)
    total = len(status.processes)
    lines += [
        "",
        f"{status.stack}: {ready} of {total} ready, at {status.url}",
        f"home: {status.home}",
    ]
    return "\n".join(lines)


def _rows(one: ProcessStatus) -> list[tuple[str, ...]]:
    pid = "-" if one.pid is None else str(one.pid)
    ready = "yes" if one.ready else "NO"
    uptime = "-" if one.uptime_s is None else duration(one.uptime_s)
    memory = "-" if one.memory_mb is None else f"{one.memory_mb:.0f} MB"
    main = (one.name, one.service, pid, _state(one), ready, str(one.restarts), uptime, memory)
    workers = [
        (f"  worker {number}", "", str(worker), "", "", "", "", "", "")
        for number, worker in enumerate(one.workers, 1)
    ]
    return [(*main, one.address), *workers]


def _state(one: ProcessStatus) -> str:
    """supervisord's word, and what it cannot know: `RUNNING, hung`, `BACKOFF, crashed 4 times`."""
    words = [one.state]
    if one.adopted:
        words.append("adopted")
    if one.watched == "crashing":
        words.append(f"crashed {one.crashes} times")
    elif one.watched in ("hung", "out"):
        words.append(one.watched)
    return ", ".join(words)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if heading in RIGHT else cell.ljust(width)
        for heading, cell, width in zip(HEADINGS, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


def duration(seconds: float) -> str:
    """`4.2s`, `3m07s`, `5h02m`, `2d04h`: short, and precise where it matters."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for unit, name, below in ((86400, "d", "h"), (3600, "h", "m"), (60, "m", "s")):
        if whole >= unit:
            rest = {"h": 3600, "m": 60, "s": 1}[below]
            return f"{whole // unit}{name}{whole % unit // rest:02d}{below}"
    raise AssertionError("a minute or more has a unit")
