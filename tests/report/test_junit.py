"""JUnit XML, as CI servers read it."""

import re
from xml.etree import ElementTree as Xml

from bulkhead.judge.verdict import Check, Verdict
from bulkhead.report.junit import junit
from tests.report.rich import VERDICT

# The elements and required attributes of the schema that CI servers share (junit-10.xsd).
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "property": set(),
    "testcase": {"failure", "error", "system-out"},
    "failure": set(), "error": set(), "system-out": set(),
}  # fmt: skip
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"}, "error": {"message", "type"}, "system-out": set(),
}  # fmt: skip

PASSED = Verdict("PASS", (Check("nothing_lost", "PASS", "0 writes lost", "none"),), {})


def parsed(*verdicts: tuple[str, Verdict, float]) -> Xml.Element:
    root = Xml.fromstring(junit(verdicts))
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN[element.tag], element.tag
        assert set(element.attrib) == ATTRIBUTES[element.tag], element.tag
    return root


def test_a_suite_for_each_run_and_a_test_for_each_check() -> None:
    root = parsed(("kill-storm", VERDICT, 61.5), ("calm", PASSED, 10.0))
    assert root.attrib == {
        "name": "bulkhead drills", "tests": "11", "failures": "1", "errors": "1", "time": "71.500",
    }  # fmt: skip
    storm, calm = root
    counts = {name: storm.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {
        "tests": "10", "failures": "1", "errors": "1", "skipped": "0", "time": "61.500",
    }  # fmt: skip
    assert [case.get("name") for case in storm.iter("testcase")] == [
        check.name for check in VERDICT.checks
    ]
    assert {case.get("classname") for case in calm.iter("testcase")} == {"drill.calm"}


def test_fail_is_a_failure_and_invalid_an_error_with_message_and_examples() -> None:
    (storm,) = parsed(("kill-storm", VERDICT, 61.5))
    (failure,) = storm.iter("failure")
    (error,) = storm.iter("error")
    assert failure.get("message") == VERDICT.checks[5].message
    assert failure.get("type") == "FAIL"
    assert failure.text == (
        "FAIL failed_retryable: 106 (bound: at most 0)\n"
        "106 retryable requests failed: refused_everywhere x 104, client_timeout x 2\n"
        "examples: t-77, t-2, no-such-<b>id</b>"
    )
    assert error.get("type") == "INVALID"


def test_bytes_that_xml_cannot_hold_are_replaced() -> None:
    hostile = Check("x", "FAIL", "1", "0", "\x00\x1b[31m</failure>\ud800\uffff", 1, ("\x0b",))
    text = junit([("d\x01", Verdict("FAIL", (hostile,), {}), 1.0)])
    root = Xml.fromstring(text.encode())
    assert [element.get("message") for element in root.iter("failure")] == [
        "\N{REPLACEMENT CHARACTER}" * 2 + "[31m</failure>" + "\N{REPLACEMENT CHARACTER}" * 2
    ]
    assert re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text) is None


def test_no_drill_is_an_empty_but_whole_document() -> None:
    assert parsed().get("tests") == "0"
