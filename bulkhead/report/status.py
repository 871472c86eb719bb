"""The status of a stack, for a terminal."""

from bulkhead.report.columns import GREEN, RED, paint, table
from bulkhead.supervise.status import CRASHING, ProcessStatus, StackStatus

HEADINGS = ("NAME", "SERVICE", "PID", "STATE", "READY", "RESTARTS", "UPTIME", "MEMORY", "ADDRESS")
LEFT = [HEADINGS.index(one) for one in ("NAME", "SERVICE", "STATE", "READY", "ADDRESS")]


def text(status: StackStatus, colour: bool) -> str:
    """A table of processes, what of their rows is or was not written, and where the stack is."""
    lines = table([HEADINGS, *(row for one in status.processes for row in _rows(one))], LEFT)
    yes, no = paint("yes", GREEN, colour), paint("NO", RED, colour)
    lines[1:] = [line.replace(" yes ", f" {yes} ").replace(" NO ", f" {no} ") for line in lines[1:]]
    for one in status.processes:
        if one.printed:
            lines += ["", f"{one.name} keeps crashing; its log ends:", *one.printed]
    lost = [f"{one}: no space left: what is to be written there is lost" for one in status.full]
    lost += [
        f"{one.name}: {one.rows_dropped:,} rows could not be written since it started"
        for one in status.processes
        if one.rows_dropped
    ]
    ready = f"{sum(one.ready for one in status.processes)} of {len(status.processes)} ready"
    where = [f"{status.stack}: {ready}, at {status.url}", f"home: {status.home}"]
    return "\n".join([*lines, *([""] if lost else []), *lost, "", *where])


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
    crashed = f"crashed {one.crashes} times"
    watched = {CRASHING: crashed, "hung": "hung", "drained": "drained"}.get(one.watched, "")
    return ", ".join(filter(None, (one.state, "adopted" if one.adopted else "", watched)))


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
