"""What came of a load, as text and as plain values, from hand-made rows."""

import json
from pathlib import Path

import pytest

from bulkhead.accounting.account import opened
from bulkhead.report.load_summary import Load, load_of, text
from tests.support.runs import Failed, MadeRun

REPORT = """\
8 requests in 2.0 s: 4.0 sent and 2.0 answered per second
answered 4  failed 2  indeterminate 1  cut off by the stop 1
latency in ms: p50 12.0  p90 2,000.0  p99 2,000.0  p99.9 2,000.0  max 2,000.0

name                      requests  failed  indeterminate  p50 ms   p90 ms   p99 ms  p99.9 ms   max ms
GET /api/v1/entries/{id}         5       2              0    10.0  2,000.0  2,000.0   2,000.0  2,000.0
POST /api/v1/entries             3       0              1    20.0     20.0     20.0      20.0     20.0
all                              8       2              1    12.0  2,000.0  2,000.0   2,000.0  2,000.0

outcome        cause           requests  meaning
failed         shed                   1  the service itself answered 503
  such as shed: 503: api-1 shed
failed         unexplained            1  no evidence fits
  such as unlogged: 503: no proxy row
indeterminate  client_timeout         1  the client gave up first
  such as timeout: timeout: proxy 201: api-1 answer

instance  answers  share
api-1           3  50.0%  ###############
api-2           3  50.0%  ###############

proxy: 7 requests logged, 1 retried on another instance
  unknown 1 (answered, but the proxy has no row): unlogged

writes: 2 acknowledged, 3 effects in the ledger
  lost 1 (acknowledged, but not in the ledger): lost
  doubled 1 (applied more than once): twice
  unacknowledged 1 (applied, but the client was not told so): timeout

failed: status 400 or above, wrong content, or no whole answer to a read or refused write.
indeterminate: a write without a whole answer; the client cannot know whether it was applied.
latency: planned start to last byte of whole answers; nearest-rank quantiles.
"""  # noqa: E501 - a table as it is printed


def load(made: MadeRun, with_rows: bool = True) -> Load:
    with opened(made.write()) as account:
        return load_of(account, with_rows)


@pytest.fixture
def broken(tmp_path: Path) -> MadeRun:
    """A load in which everything went wrong once."""
    made = MadeRun(tmp_path)
    made.request("good", 100.0, took=0.012)
    made.request(
        "slow", 100.0, took=1.9, instance="api-2", failed=[Failed("api-1", "refused", 0.1)]
    )
    made.request("shed", 100.0, status=503)
    made.request("unlogged", 100.0, status=503, instance="api-2", proxy=None, begin=None)
    made.request("stopped", 101.0, client={"status": 0, "error": "stopped", "instance": ""})
    made.request("lost", 100.0, took=0.02, instance="api-2", effect="create", applied=None)
    made.request("twice", 100.0, took=0.02, effect="create")
    made.effects.append(made.effects[-1])
    timeout = {"status": 0, "error": "timeout", "instance": ""}
    made.request("timeout", 100.0, took=0.1, effect="create", client=timeout)
    return made


def test_the_whole_report(broken: MadeRun) -> None:
    assert text(load(broken)) == REPORT


def test_a_load_in_which_nothing_went_wrong(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.request("a-1")
    made.request("a-2", effect="create")
    found = load(made)
    assert not found.failed
    assert "outcome" not in text(found)
    assert "unknown" not in text(found)


def test_without_rows_of_the_stack_the_proxy_is_not_missed(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.request("a-1", proxy=None, begin=None)
    assert load(made, with_rows=False).figures["proxy"]["unknown"] == []
    assert not load(made, with_rows=False).failed
    assert load(made).failed


@pytest.mark.parametrize(
    ("error", "counted"), [("stopped", (0, 1)), ("timeout", (1, 0)), ("refused", (1, 0))]
)
def test_a_read_that_the_end_cut_off_has_not_failed(
    tmp_path: Path, error: str, counted: tuple[int, int]
) -> None:
    made = MadeRun(tmp_path)
    made.request("a-1")
    made.request(
        "a-2", client={"status": 0, "error": error, "instance": ""}, proxy=None, begin=None
    )
    found = load(made)
    every = found.figures["all"]
    assert (every["failed"], every["stopped"]) == counted
    assert found.failed == bool(counted[0])


def test_colour_only_when_asked(broken: MadeRun) -> None:
    found = load(broken)
    assert "\x1b" not in text(found)
    coloured = text(found, colour=True)
    assert "\x1b[31mfailed 2\x1b[0m" in coloured
    assert "\x1b[31mlost 1\x1b[0m" in coloured
    assert "\x1b[32munacknowledged 1\x1b[0m" in coloured


def test_many_ids_are_cut(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    for number in range(12):
        made.request(f"a-{number:02}", effect="create", applied=None)
    assert "a-09, ...\n" in text(load(made))


def test_plain_values_survive_json(broken: MadeRun) -> None:
    figures = json.loads(json.dumps(load(broken).figures))
    assert figures["all"]["failed"] == 2
    assert figures["all"]["latency"]["p50"] == pytest.approx(0.012)
    assert figures["names"]["POST /api/v1/entries"]["indeterminate"] == 1
    assert figures["instances"]["api-2"] == {"answers": 3, "share": 0.5}
    assert figures["requests_per_s"] == pytest.approx(4.0)
    assert figures["writes"]["lost"] == ["lost"]
    assert figures["causes"][0]["cause"] == "shed"
    assert figures["proxy"]["unknown"] == ["unlogged"]
