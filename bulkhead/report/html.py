"""report.html: one file that holds all of a run that a person wants to see.

The page is complete without its script: charts are SVG paths made here. The script only adds what
needs a hand: values under the cursor, zoom, and opening what a link points at. Its policy lets the
page load nothing and run no other script, whatever bytes a request brought into it.
"""

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bulkhead.accounting.account import opened
from bulkhead.judge.verdict import DECIDING, SHOWN
from bulkhead.report import columns, documents, examples, tables
from bulkhead.report.charts import charts, data, in_force, tracks
from bulkhead.report.documents import Documents
from bulkhead.report.story import stories
from bulkhead.report.timeline import timeline
from bulkhead.rundir import RunDir

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 300  # of what a request brought along: its target may be kilobytes
# Keys that a drill.json may lack.
BLANK: dict[str, Any] = {
    "title": "", "story": "", "predicts": "", "seed": "unknown", "settings": [],
    "load": {}, "phases": {}, "faults": [], "expect": {},
}  # fmt: skip


def write(run: RunDir) -> Path:
    """Make report.html of what the run folder holds.

    Raises:
        EvidenceError: the folder lacks what a report is made of.
    """
    found = documents.read(run)
    with opened(run) as account:
        page = render(account, found, run)
    unfinished = run.report_html.with_suffix(".part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(run.report_html)
    return run.report_html


def render(account: DuckDBPyConnection, found: Documents, run: RunDir) -> str:
    """The page."""
    script = (TEMPLATES / "report.js").read_text()
    page = environment().get_template("report.html.j2")
    return page.render(
        style=Markup((TEMPLATES / "report.css").read_text()),
        script=Markup(script),
        script_hash=hash_of(script),
        **_context(account, found, run),
    )


def environment() -> Environment:
    """The templates of a report. HTML escapes what it shows: a request's bytes are hostile."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "ms": columns.ms,
        "offset": columns.offset,
        "share": columns.share,
        "plain": columns.plain,
        "short": lambda words: columns.shortened(columns.plain(words), LONGEST),
        "toml": toml,
    }
    return found


def hash_of(script: str) -> str:
    """The hash by which a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _context(account: DuckDBPyConnection, found: Documents, run: RunDir) -> dict[str, Any]:
    verdict, lines, drill = found.verdict, timeline(account), BLANK | found.drill
    facts: dict[str, Any] = {"configuration": {}} | found.provenance
    groups = examples.groups(account, verdict)
    ids = list(dict.fromkeys(id for group in groups for id in group.ids))
    checks = sorted(enumerate(verdict.checks), key=lambda check: SHOWN.index(check[1].verdict))
    return {
        "drill": drill,
        "run": run.path.name,
        "started": _started(facts),
        "facts": facts,
        "versions": {name: facts.get(name, {}) for name in ("machine", "packages", "git")},
        "argv": shlex.join(map(str, facts.get("argv", []))),
        "again": _again(drill, facts, run.path.name),
        "verdict": verdict,
        "checks": checks,
        "deciding": [check for check in checks if check[1].verdict in DECIDING],
        "phases": tables.phases(account),
        "endings": tables.endings(account),
        "delays": tables.delays(account),
        "latencies": tables.latencies(account),
        "answers": tables.answers(account),
        "compared": tables.COMPARED,
        "quantiles": tables.QUANTILES,
        "groups": groups,
        "anchors": {group.anchor for group in groups},
        "stories": stories(account, ids),
        "numbers": {id: number for number, id in enumerate(ids, 1)},
        "line": lines,
        "wide": lines.axis.seconds / 20,  # a span that has room for a word
        "tracks": tracks(lines),
        "in_force": in_force(lines),
        "charts": charts(lines),
        "data": data(lines),
    }


def _started(facts: Mapping[str, Any]) -> str:
    """When, by the wall clock of the machine that ran it."""
    at = facts.get("started")
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at is not None else ""


def _again(drill: Mapping[str, Any], facts: Mapping[str, Any], run: str) -> str:
    """The commands that make another run like this one, or another report of it."""
    git = facts.get("git", {})
    changed = "   # and it had uncommitted changes" if git.get("dirty") else ""
    checkout = [f"git checkout {git['head'][:12]}{changed}"] if git.get("head") else []
    commands = [
        f"bulkhead drill {shlex.quote(drill['name'])} --seed {drill['seed']}",
        f"bulkhead judge {run}     # the same rows, judged again",
        f"bulkhead report {run}    # this page again",
    ]
    return "\n".join(checkout + commands)


def toml(values: Mapping[str, Any], prefix: str = "") -> str:
    """A configuration as stack.toml would say it; what is unset is left out."""
    plain = {key: one for key, one in values.items() if not isinstance(one, Mapping)}
    lines = [f"{key} = {json.dumps(one)}" for key, one in plain.items() if one is not None]
    head = [f"[{prefix}]"] if prefix and lines else []
    parts = ["\n".join(head + lines)] if lines else []
    for key, one in values.items():
        if isinstance(one, Mapping) and one:
            parts.append(toml(one, f"{prefix}.{key}" if prefix else key))
    return "\n\n".join(parts)
