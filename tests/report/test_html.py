"""report.html without a browser: what is in it, what it links to, and what it never holds."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from bulkhead.errors import EvidenceError
from bulkhead.report import html
from bulkhead.rundir import RunDir
from tests.report.page import Page
from tests.report.rich import VERDICT, write_verdict
from tests.support.runs import MadeRun


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text())


def test_the_head_tells_the_drill_its_verdict_and_what_decided(page: Page) -> None:
    assert "A storm of kills, and one hang" in page.words
    assert "The drill predicted PASS; it came out FAIL." in page.words
    assert [given["class"] for given in page.having("article", "fail")] == ["fail"]
    assert [given["class"] for given in page.having("article", "invalid")] == ["invalid"]
    assert len(page.having("div", "figure")) == 10


def test_checks_come_with_figure_and_bound_and_the_deciding_ones_first(page: Page) -> None:
    rows = page.table("verdict", "check", "figure", "bound")
    assert [row["verdict"] for row in rows] == ["FAIL", "INVALID", *["PASS"] * 7, "INFO"]
    assert (rows[0]["figure"], rows[0]["bound"]) == ("106", "at most 0")
    assert "t-77" in rows[0]["what it says"]
    assert "#r-1" in page.links, "an example of a check leads to the request"


def test_outcomes_and_causes_count_every_request_once(
    page: Page, account: DuckDBPyConnection
) -> None:
    rows = page.table("outcome", "cause")
    (every,) = account.execute("SELECT count(*) FROM requests").fetchall()[0]
    counts = {(row["outcome"], row["cause"]): int(row["requests"].replace(",", "")) for row in rows}
    assert sum(counts.values()) == every
    assert {cause for _, cause in counts} == {
        "", "refused_everywhere", "reset_not_retried", "client_timeout"
    }  # fmt: skip
    for row in rows:
        phases = (row[name] for name in ("warmup", "baseline", "faults", "recovery"))
        assert (
            sum(int(count.replace(",", "")) for count in phases)
            == counts[row["outcome"], row["cause"]]
        )
        assert row["meaning"]


def test_latencies_are_given_before_during_and_after_for_all_and_each_class(page: Page) -> None:
    rows = page.table("class", "phase")
    assert [(row["class"], row["phase"].split()[1]) for row in rows] == [
        (kind, when)
        for kind in ("all", "retryable", "non_retryable")
        for when in ("before", "during", "after")
    ]
    assert rows[1]["p99.9"] == "1,006"


def test_every_link_leads_somewhere_and_every_anchor_is_one(page: Page) -> None:
    assert page.links
    assert {link for link in page.links if link[1:] not in page.ids} == set()
    assert [id for id, count in Counter(page.ids).items() if count > 1] == []


def test_every_cause_of_the_table_has_its_examples_in_full(page: Page) -> None:
    for cause in ("refused_everywhere", "reset_not_retried", "client_timeout"):
        assert f"cause-{cause}" in page.ids
        assert f"#cause-{cause}" in page.links
    assert {"slowest", "moved", "delay-retried", "delay-sent_late"} <= set(page.ids)
    assert 15 < len(page.having("details", "request")) <= 200


def test_a_request_in_full_tells_every_observers_moments(page: Page) -> None:
    observers = {given["class"].split()[0] for tag, given in page.tags if tag == "li"}
    assert observers == {"client", "fault", "watch", "proxy", "service", "ledger"}
    assert (
        "api-1 at 127.0.0.1:8101: 502, connected after 0.0, no answer until 20.0 ms" in page.words
    )
    assert "for api-" in page.words


def test_the_timeline_has_a_lane_for_each_instance_and_every_injection(page: Page) -> None:
    assert len(page.having("div", "lane")) == 6
    assert len(page.having("i", "injection")) == 15
    assert len(page.having("i", "void")) == 1
    assert len(page.having("i", "dead")) == 13 + 1, "13 deaths and the legend"
    assert len(page.having("i", "mark")) == 14
    assert len(page.having("i", "force")) == 14 + 1
    assert "stopped" in page.words
    assert len(page.having("i", "crashing")) == 2 + 1, "in the lane, in the track, in the legend"
    assert len(page.having("i", "ready")) == 1 + 1, "in the lane and in the legend"


def test_the_values_under_the_cursor_are_those_of_the_account(
    report: Path, account: DuckDBPyConnection
) -> None:
    data = embedded(report)
    ended = dict(
        account.execute("SELECT outcome, count(*) FROM requests GROUP BY outcome").fetchall()
    )
    assert data["buckets"] == 600
    assert sum(data["counts"]["offered"]) == sum(ended.values())
    for outcome in ("answered", "failed", "indeterminate", "not_sent"):
        assert sum(data["counts"][outcome]) == ended.get(outcome, 0)
    (executions,) = account.execute("SELECT count(*) FROM executions").fetchall()[0]
    assert sum(sum(lane["begun"]) for lane in data["lanes"]) == executions


def test_a_requests_bytes_are_shown_and_never_run(report: Path) -> None:
    text = report.read_text()
    assert "q=&lt;script&gt;document" in text
    assert "<script>document" not in text
    assert "no-such-&lt;b&gt;id" in text
    assert "\x1b" not in text
    assert len(re.findall(r"<script\b", text)) == 2, "the data and the page's own"


def test_the_data_cannot_end_its_script_element(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1")
    made.injection(1, "kill", "</script><script>alert(1)</script>", at=108.0)
    made.drill["title"] = "</title><script>alert(2)</script>"
    made.drill["story"] = "<img src=x onerror=alert(3)>"
    run = made.write()
    write_verdict(run, VERDICT)
    text = html.write(run).read_text()
    assert len(re.findall(r"<script\b", text)) == 2
    assert "<img" not in text


def test_what_requests_brought_along_is_cut_and_the_page_stays_small(
    report: Path, tmp_path: Path
) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    for number in range(300):
        long = {"target": "/" + "x" * 8000, "status": 502}
        made.request(f"a-{number}", 108.0 + number / 100, client=long, begin={"target": "y" * 8000})
    run = made.write()
    write_verdict(run, VERDICT)
    assert html.write(run).stat().st_size < 200_000
    assert report.stat().st_size < 400_000


def test_the_page_fetches_nothing(report: Path) -> None:
    text = report.read_text()
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) == []
    assert re.findall(r"@import|url\(|\bsrc=", text) == []
    assert "default-src 'none'" in text


def test_the_policy_allows_the_pages_own_script_alone(report: Path) -> None:
    text = report.read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert html.hash_of(script) in text.partition("</head>")[0]


def test_how_to_do_it_again_names_commit_drill_and_seed(page: Page) -> None:
    assert "git checkout b9da826c0ffe   # and it had uncommitted changes" in page.words
    assert "bulkhead drill kill-storm --seed 7" in page.words
    assert 'policy = "least_conn"' in page.words
    assert "nginx/1.22.1" in page.words


def test_a_run_in_which_nothing_went_wrong_says_so(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases()
    made.request("a-1")
    run = made.write()
    passed = [check for check in VERDICT.checks if check.verdict == "PASS"]
    write_verdict(run, type(VERDICT)("PASS", tuple(passed), {"requests": 1, "failed": 0}))
    page = Page(html.write(run).read_text())
    assert "all 7 checks hold" in " ".join(page.words.split())
    assert "every request was answered" in page.words
    assert page.having("article", "fail") == []


def test_a_run_without_requests_still_has_a_page(tmp_path: Path) -> None:
    run = MadeRun(tmp_path).write()
    write_verdict(run, type(VERDICT)("INVALID", VERDICT.checks[6:7], {"requests": 0}))
    page = Page(html.write(run).read_text())
    assert "There is nothing to show." in page.words


def test_what_is_missing_is_named_a_line_each(storm: RunDir, tmp_path: Path) -> None:
    copy = RunDir(Path(shutil.copytree(storm.path, tmp_path / "copy")))
    copy.verdict_json.unlink()
    copy.drill_json.write_text('{"name": ')
    with pytest.raises(EvidenceError) as raised:
        html.write(copy)
    drill, verdict = raised.value.lines
    assert drill.startswith(f"{copy.drill_json}: ")
    assert verdict == f"{copy.verdict_json}: no such file (first: bulkhead judge {copy.path})"


def embedded(report: Path) -> dict[str, Any]:
    (text,) = re.findall(r'id="data">(.*?)</script>', report.read_text(), re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found
