"""A summary as text and as plain values."""

import json

from bulkhead.accounting.attempts import Attempts
from bulkhead.accounting.load import Writes, summarise
from bulkhead.report.load import as_dict, text
from tests.accounting.test_load import row, write

ROWS = [
    row(planned=100.0, done=100.012),
    row(planned=100.0, done=102.0, instance="api-2"),
    row(planned=100.0, done=100.5, status=503, instance=""),
    row(planned=101.0, done=102.0, status=0, error="stopped", instance=""),
    write(1, planned=100.0, done=100.02, instance="api-2"),
    write(2, planned=100.0, done=101.0, status=0, error="timeout", instance=""),
]
WRITES = Writes(1, 2, ("request-1",), (), ("request-2",))

LEGEND = """\
failed: status 400 or above, wrong content, or no whole answer to a read or refused write.
indeterminate: a write without a whole answer; the client cannot know whether it was applied.
latency: planned start to last byte of whole answers; nearest-rank quantiles.
"""

REPORT = """\
6 requests in 2.0 s: 3.0 sent and 1.5 ok per second
ok 3  failed 1 (503 x 1)  indeterminate 1 (timeout x 1)  cut off by the stop 1
latency in ms: p50 20.0  p90 2,000.0  p99 2,000.0  p99.9 2,000.0  max 2,000.0

name     requests  failed  indeterminate  p50 ms   p90 ms   p99 ms  p99.9 ms   max ms
GET /a          4       1              0   500.0  2,000.0  2,000.0   2,000.0  2,000.0
POST /a         2       0              1    20.0     20.0     20.0      20.0     20.0
all             6       1              1    20.0  2,000.0  2,000.0   2,000.0  2,000.0

instance      answers  share
(none named)        1  25.0%  ########
api-1               1  25.0%  ########
api-2               2  50.0%  ###############

writes: 1 acknowledged, 2 effects in the ledger
  lost 1 (acknowledged, but the ledger has no effect): request-1
  doubled 0 (applied more than once)
  ghosts 1 (applied, but the client was not told so): request-2

"""


def test_the_whole_report() -> None:
    assert text(summarise(ROWS), WRITES) == REPORT + LEGEND


def test_what_the_proxy_saw_is_told_and_what_it_missed_is_named() -> None:
    assert "proxy: 7 requests logged, 2 moved on to another instance\n" in text(
        summarise(ROWS), seen=Attempts(7, 2, ())
    )
    missed = text(summarise(ROWS), seen=Attempts(7, 2, ("a", "b")))
    assert "  unknown 2 (answered, but the proxy has no row): a, b\n" in missed


def test_without_the_ledger_nothing_is_said_about_it() -> None:
    assert "ledger" not in text(summarise(ROWS))


def test_no_requests() -> None:
    assert text(summarise([])) == "no requests were made\n"


def test_only_failures_have_no_latency_and_no_instances() -> None:
    report = text(summarise([row(status=0, error="reset", instance="")]))
    assert "latency in ms" not in report
    assert "instance  " not in report
    assert (
        "GET /a         1       1              0       -       -       -         -       -"
        in report
    )


def test_colour_only_when_asked() -> None:
    assert "\x1b" not in text(summarise(ROWS), WRITES)
    coloured = text(summarise(ROWS), WRITES, colour=True)
    assert "\x1b[31mfailed 1\x1b[0m" in coloured
    assert "\x1b[31mlost 1\x1b[0m" in coloured
    assert "\x1b[32mdoubled 0\x1b[0m" in coloured


def test_many_ids_are_cut() -> None:
    ids = tuple(f"request-{number}" for number in range(12))
    assert "request-9, ...\n" in text(summarise(ROWS), Writes(0, 12, (), ids, ()))


def test_plain_values_survive_json() -> None:
    figures = json.loads(json.dumps(as_dict(summarise(ROWS), WRITES)))
    assert figures["all"]["failed_by"] == {"503": 1}
    assert figures["names"]["POST /a"]["indeterminate_by"] == {"timeout": 1}
    assert figures["instances"]["api-2"] == {"answers": 2, "share": 0.5}
    assert figures["throughput_per_s"] == 1.5
    assert figures["writes"]["lost"] == ["request-1"]
    assert "writes" not in as_dict(summarise(ROWS))
    assert json.loads(json.dumps(as_dict(summarise([]))))["all"]["latency"] is None
