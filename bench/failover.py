"""Kill-storm, all-down and hang: bulkhead and its peers under the same load and the same faults.

Every row is a fresh set-up: a proxy, four API instances, and who brings them back. The load is open
(bench/load.py) and holds only requests that are harmless to repeat. With several rounds, a row is
about the requests of all of them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import proxies
from bench.figures import Figures, figures
from bench.load import RATE, TIMEOUT_S, open_loop
from bench.ports import free_block
from bench.scenarios import NAMES, Scenario
from bench.tables import Table, shown
from bulkhead import clock
from bulkhead.records import ClientRow
from tests.support.stack import running_stack

LEAD_S = 1.0  # of calm load before the first fault
TAIL_S = 2.0  # of load after the last one: what it leaves behind counts
COLUMNS = (
    *("proxy", "back by", "sent", "failed", "failed %", "p50 ms", "p99 ms", "p99.9 ms"),
    *("worst ms", "good/s", "kills met", "failed how"),
)
NOTE = (
    f"failed: no good answer within {TIMEOUT_S} s. p50 to p99.9: of all requests; `never`: more "
    "than the rest of them failed. worst: of those that were answered well"
)


@dataclass(frozen=True)
class SetUp:
    """What a row is about: bulkhead, or a peer and the `startsecs` of its plain supervisord."""

    peer: proxies.Peer | None = None
    startsecs: int = 1

    @property
    def name(self) -> str:
        """Whose row it is."""
        return self.peer.name if self.peer else "bulkhead"

    @property
    def supervisor(self) -> str:
        """Who brings its instances back."""
        return f"startsecs={self.startsecs}" if self.peer else "its watchdog"


@dataclass(frozen=True)
class Target:
    """A set-up that serves at `url`; its instances are children of `supervisord`, a pid."""

    url: str
    supervisord: int


def set_ups(scenario: str) -> list[SetUp]:
    """The rows of a scenario. Where nothing dies, startsecs makes no difference."""
    found = [SetUp()]
    for peer in proxies.PEERS:
        found += [SetUp(peer, startsecs) for startsecs in ((1,) if scenario == "hang" else (1, 0))]
    return found


def measure(
    scenario: Scenario, rounds: int, only: Sequence[str], settings: Sequence[str]
) -> Iterator[Table]:
    """One scenario with every set-up, or with those that `only` names."""
    table = Table(
        f"{scenario.name}: {scenario.story}; {RATE} requests/s, all of them harmless to repeat",
        COLUMNS,
    )
    found: dict[SetUp, Figures] = {}
    for one in set_ups(scenario.name):
        if only and one.name not in only:
            continue
        print(f"  {scenario.name}: {one.name}, {one.supervisor}", flush=True)
        rows, spans, met = [], [], []
        for _ in range(rounds):
            sent, span, kills = _round(one, scenario, settings)
            rows += sent
            spans.append(span)
            met.append(kills)
        found[one] = figures(rows, spans)
        table.rows.append(_cells(one, found[one], met))
        table.details.append({"set-up": one.name, "by": one.supervisor, **asdict(found[one])})
    table.notes += [NOTE, *comparison(found)]
    yield table


def comparison(found: dict[SetUp, Figures]) -> list[str]:
    """Where bulkhead is ahead of a peer, in a sentence for each peer; and where it is not."""
    ours = next((figures for one, figures in found.items() if not one.peer), None)
    if ours is None:
        return []
    said = []
    for one, theirs in found.items():
        if one.peer:
            failures = _standing(ours.failed, theirs.failed)
            worst = _standing(ours.worst_ms, theirs.worst_ms)
            said.append(
                f"against {one.name} ({one.supervisor}): {failures} in failures "
                f"({ours.failed:,} to {theirs.failed:,}), {worst} in worst latency "
                f"({shown(ours.worst_ms)} to {shown(theirs.worst_ms)} ms{_of_those(theirs)})"
            )
    return said


def _of_those(theirs: Figures) -> str:
    """What a worst latency leaves out: who answers few may answer them soon."""
    if not theirs.failed:
        return ""
    return f", of the {100 * (1 - theirs.failed / theirs.sent):.1f} % that it answered well"


def _standing(ours: float | None, theirs: float | None) -> str:
    if ours == theirs:
        return "level"
    return "ahead" if theirs is None or (ours is not None and ours < theirs) else "BEHIND"


def _cells(one: SetUp, figures: Figures, met: Sequence[str]) -> list[str | int | float | None]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in figures.kinds.items())
    times = (figures.p50_ms, figures.p99_ms, figures.p999_ms, figures.worst_ms)
    share = 100 * figures.failed / max(figures.sent, 1)
    return [
        *(one.name, one.supervisor, figures.sent, figures.failed, share, *times, figures.rate),
        *(", ".join(dict.fromkeys(met)), kinds or "-"),
    ]


def _round(
    one: SetUp, scenario: Scenario, settings: Sequence[str]
) -> tuple[list[ClientRow], tuple[float, float], str]:
    """The rows of one load, the span of its faults with TAIL_S, and what the faults met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # a stock nginx's workers are not root
        seconds = LEAD_S + scenario.seconds + TAIL_S + 0.5
        rows = folder / "client.jsonl"
        with (
            _running(one, folder, settings) as target,
            open_loop(target.url, rows, seconds) as load,
        ):
            load.wait_until_under_way()
            clock.pause(LEAD_S)
            began = clock.now()
            met = scenario.inflict(target.supervisord)
            ended = clock.now() + TAIL_S
            return load.finish(), (began, ended), met


@contextmanager
def _running(one: SetUp, folder: Path, settings: Sequence[str]) -> Iterator[Target]:
    """The set-up, ready to serve."""
    if one.peer is None:
        with running_stack(folder / "home", settings) as stack:
            pid = int((stack.home.run / "supervisord.pid").read_text())
            yield Target(stack.url, pid)
        return
    with free_block() as ports:
        instances = ports[1 : 1 + len(NAMES)]
        with (
            proxies.supervised(folder / "instances", instances, one.startsecs) as supervisord,
            proxies.proxy(one.peer, folder / "proxy", ports[0], instances) as running,
        ):
            yield Target(running.url, supervisord.pid)
