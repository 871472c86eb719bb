"""The status of a stack, for a terminal and for programs."""

from dataclasses import asdict

from bulkhead.report.columns import GREEN, RED, paint, table
from bulkhead.supervise.status import CRASHING, ProcessStatus, StackStatus

HEADINGS = ("NAME", "SERVICE", "PID", "STATE", "READY", "RESTARTS", "UPTIME", "MEMORY", "ADDRESS")
LEFT = [HEADINGS.index(one) for one in ("NAME", "SERVICE", "STATE", "READY", "ADDRESS")]


def as_dict(status: StackStatus) -> dict[str, object]:
    """The form that programs read: {"stack", "url", "home", "processes": [...]}."""
    return asdict(status)


def as_text(status: StackStatus, colour: bool) -> str:
    """A table of processes, and where the stack is."""
    lines = table([HEADINGS, *(row for one in status.processes for row in _rows(one))], LEFT)
    yes, no = paint("yes", GREEN, colour), paint("NO", RED, colour)
    lines[1:] = [line.replace(" yes ", f" {yes} ").replace(" NO ", f" {no} ") for line in lines[1:]]
    for one in status.processes:
        if one.printed:
            lines += ["", f"{one.name} keeps crashing; its log ends:", *one.printed]
    lines += _losses(status)
    ready = sum(one.ready for one in status.processes)
    total = len(status.processes)
    lines += [
        "",
        f"{status.stack}: {ready} of {total} ready, at {status.url}",
        f"home: {status.home}",
    ]
    return "\n".join(lines)


def _losses(status: StackStatus) -> list[str]:
    """Rows that are not written at present, or were not."""
    lines = [f"{one}: no space left: what is to be written there is lost" for one in status.full]
    lines += [
        f"{one.name}: {one.rows_dropped:,} rows could not be written since it started"
        for one in status.processes
        if one.rows_dropped
    ]
    return ["", *lines] if lines else []


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
    if one.watched == CRASHING:
        words.append(f"crashed {one.crashes} times")
    elif one.watched in ("hung", "drained"):
        words.append(one.watched)
    return ", ".join(words)


def duration(seconds: float) -> str:
    """`4.2s`, `3m07s`, `5h02m`, `2d04h`: short, and precise where it matters."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
