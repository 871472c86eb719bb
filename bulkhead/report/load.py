"""A load test's summary as text for a terminal and as plain values for a program."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bulkhead.accounting.attempts import Attempts
from bulkhead.accounting.load import Group, Latency, Summary, Writes
from bulkhead.report.columns import GREEN, RED, offset, paint, table

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
BAR_WIDTH = 30
MOST_IDS = 10
COLUMNS = ("name", "requests", "failed", "indeterminate", *(f"{q} ms" for q in QUANTILES))
LEGEND = (
    "failed: status 400 or above, wrong content, or no whole answer to a read or refused write.",
    "indeterminate: a write without a whole answer; the client cannot know whether it was applied.",
    "latency: planned start to last byte of whole answers; nearest-rank quantiles.",
)


def text(
    summary: Summary,
    writes: Writes | None = None,
    seen: Attempts | None = None,
    colour: bool = False,
) -> str:
    """The whole report, a line break at its end; `colour` marks good and bad with ANSI codes."""
    if not summary.all.requests:
        return paint("no requests were made", RED, colour) + "\n"
    blocks = [_headline(summary, colour), _names(summary), _instances(summary)]
    if seen is not None:
        blocks.append(_attempts(seen, colour))
    if writes is not None:
        blocks.append(_writes(writes, colour))
    blocks.append(list(LEGEND))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def as_dict(
    summary: Summary, writes: Writes | None = None, seen: Attempts | None = None
) -> dict[str, object]:
    """The same figures as values that JSON can hold; times are in seconds, shares from 0 to 1."""
    figures: dict[str, object] = asdict(summary)
    figures["instances"] = {
        name: {"answers": answers, "share": summary.share(name)}
        for name, answers in summary.instances.items()
    }
    if writes is not None:
        figures["writes"] = asdict(writes)
    if seen is not None:
        figures["proxy"] = asdict(seen)
    return figures


def _headline(summary: Summary, colour: bool) -> list[str]:
    every = summary.all
    lines = [
        f"{every.requests:,} requests in {summary.active_s:.1f} s: "
        f"{summary.requests_per_s:,.1f} sent and {summary.throughput_per_s:,.1f} ok per second",
        f"ok {every.ok:,}  "
        + _counted("failed", every.failed, every.failed_by, colour)
        + "  "
        + _counted("indeterminate", every.indeterminate, every.indeterminate_by, colour)
        + f"  cut off by the stop {every.stopped:,}",
    ]
    if every.latency:
        parts = zip(QUANTILES, _ms(every.latency), strict=True)
        lines.append("latency in ms: " + "  ".join(f"{name} {value}" for name, value in parts))
    return lines


def _counted(word: str, count: int, by: Mapping[str, int], colour: bool) -> str:
    details = ", ".join(f"{what} x {times:,}" for what, times in by.items())
    shown = paint(f"{word} {count:,}", RED if count else GREEN, colour)
    return f"{shown} ({details})" if details else shown


def _names(summary: Summary) -> list[str]:
    rows = [_name_row(name, group) for name, group in summary.names.items()]
    return table([COLUMNS, *rows, _name_row("all", summary.all)])


def _name_row(name: str, group: Group) -> tuple[str, ...]:
    latencies = _ms(group.latency) if group.latency else ("-",) * len(QUANTILES)
    counts = (group.requests, group.failed, group.indeterminate)
    return (name, *(f"{count:,}" for count in counts), *latencies)


def _instances(summary: Summary) -> list[str]:
    rows = [
        (
            name or "(none named)",
            f"{answers:,}",
            f"{summary.share(name):.1%}",
            "#" * round(summary.share(name) * BAR_WIDTH),
        )
        for name, answers in summary.instances.items()
    ]
    return table([("instance", "answers", "share", ""), *rows], left=(0, 3)) if rows else []


def _attempts(seen: Attempts, colour: bool) -> list[str]:
    lines = [
        f"proxy: {seen.logged:,} requests logged, {seen.moved_on:,} moved on to another instance"
    ]
    if seen.unknown:
        count = paint(f"unknown {len(seen.unknown):,}", RED, colour)
        lines.append(f"  {count} (answered, but the proxy has no row): {_ids(seen.unknown)}")
    return lines


def _ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:MOST_IDS]) + (", ..." if len(ids) > MOST_IDS else "")


def _writes(writes: Writes, colour: bool) -> list[str]:
    lines = [
        f"writes: {writes.acknowledged:,} acknowledged, {writes.applied:,} effects in the ledger"
    ]
    for word, ids, meaning, bad in (
        ("lost", writes.lost, "acknowledged, but the ledger has no effect", True),
        ("doubled", writes.doubled, "applied more than once", True),
        ("ghosts", writes.ghosts, "applied, but the client was not told so", False),
    ):
        count = paint(f"{word} {len(ids):,}", RED if ids and bad else GREEN, colour)
        listed = f": {_ids(ids)}" if ids else ""
        lines.append(f"  {count} ({meaning}){listed}")
    return lines


def _ms(latency: Latency) -> tuple[str, ...]:
    values = (latency.p50, latency.p90, latency.p99, latency.p999, latency.max)
    return tuple(map(offset, values))
