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
from bulkhead.judge.case import Row
from bulkhead.judge.verdict import DECIDING, SHOWN, Verdict, documents
from bulkhead.report import columns, examples, tables
from bulkhead.report.charts import charts, data, in_force, tracks
from bulkhead.report.story import stories
from bulkhead.report.timeline import timeline
from bulkhead.rundir import RunDir

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 300  # of what a request brought along: its target may be kilobytes
# Keys that a drill.json may lack.
BLANK: Row = {
    "title": "", "story": "", "predicts": "", "seed": "unknown", "settings": [],
    "load": {}, "phases": {}, "faults": [], "expect": {},
}  # fmt: skip


def write(run: RunDir) -> Path:
    """Make report.html of what the run folder holds.

    EvidenceError if the folder lacks what a report is made of.
    """
    found = documents(run)
    script = (TEMPLATES / "report.js").read_text()
    template = environment().get_template("report.html.j2")
    with opened(run) as account:
        page = template.render(
            style=Markup((TEMPLATES / "report.css").read_text()),
            script=Markup(script),
            script_hash=hash_of(script),
            **_context(account, run.path.name, *found),
        )
    unfinished = run.report_html.with_suffix(".part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(run.report_html)
    return run.report_html


def environment() -> Environment:
    """The templates of a report. HTML escapes what it shows: a request's bytes are hostile."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (columns.ms, columns.offset, columns.share, columns.plain, toml)
    found.filters |= {one.__name__: one for one in filters}
    found.filters["short"] = lambda words: columns.shortened(columns.plain(words), LONGEST)
    return found


def hash_of(script: str) -> str:
    """The hash by which a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _context(
    account: DuckDBPyConnection, run: str, drill: Row, facts: Row, verdict: Verdict
) -> Row:
    """The values of the page; `run` is the name of its folder."""
    lines, drill = timeline(account), BLANK | drill
    facts = {"configuration": {}, **facts}
    started = facts.get("started")  # by the wall clock of the machine that ran it
    git = facts.get("git", {})
    changed = "   # and it had uncommitted changes" if git.get("dirty") else ""
    again = [
        *([f"git checkout {git['head'][:12]}{changed}"] if git.get("head") else []),
        f"bulkhead drill {shlex.quote(drill['name'])} --seed {drill['seed']}",
        f"bulkhead judge {run}     # the same rows, judged again",
        f"bulkhead report {run}    # this page again",
    ]
    groups = examples.groups(account, verdict)
    ids = list(dict.fromkeys(id for group in groups for id in group.ids))
    checks = sorted(enumerate(verdict.checks), key=lambda check: SHOWN.index(check[1].verdict))
    return {
        "drill": drill,
        "run": run,
        "started": f"{datetime.fromtimestamp(started, UTC):%F %T} UTC" if started else "",
        "facts": facts,
        "versions": {name: facts.get(name, {}) for name in ("machine", "packages", "git")},
        "argv": shlex.join(map(str, facts.get("argv", []))),
        "again": "\n".join(again),
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
