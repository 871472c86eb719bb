"""Verdicts as JUnit XML, the form in which a CI server shows tests."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from bulkhead.judge.verdict import Check, Verdict

# What XML 1.0 cannot hold, not even as a reference.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A failure is what the stack did; an error is what the drill could not measure.
ELEMENTS = {"FAIL": "failure", "INVALID": "error"}


def junit(verdicts: Iterable[tuple[str, Verdict, float]]) -> str:
    """A test suite for each drill run (name, verdict, seconds), a test for each of its checks."""
    root = Xml.Element("testsuites", name="bulkhead drills")
    totals = dict.fromkeys(("tests", "failures", "errors"), 0)
    time = 0.0
    for name, verdict, seconds in verdicts:
        counts = _suite(root, name, verdict, seconds)
        totals = {key: totals[key] + counts[key] for key in totals}
        time += seconds
    root.attrib |= {key: str(count) for key, count in totals.items()} | {"time": f"{time:.3f}"}
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: Xml.Element, name: str, verdict: Verdict, seconds: float) -> dict[str, int]:
    judged = [check.verdict for check in verdict.checks]
    counts = {
        "tests": len(judged),
        "failures": judged.count("FAIL"),
        "errors": judged.count("INVALID"),
    }
    values = {"name": _legal(name), "skipped": "0", "time": f"{seconds:.3f}"}
    values |= {key: str(count) for key, count in counts.items()}
    suite = Xml.SubElement(root, "testsuite", values)
    properties = Xml.SubElement(suite, "properties")
    Xml.SubElement(properties, "property", name="verdict", value=verdict.verdict)
    for check in verdict.checks:
        _case(suite, name, check)
    return counts


def _case(suite: Xml.Element, drill: str, check: Check) -> None:
    """The time of a check is 0: the seconds are those of the drill, not of the judging."""
    case = Xml.SubElement(
        suite, "testcase", classname=_legal(f"drill.{drill}"), name=_legal(check.name), time="0"
    )
    text = _legal("\n".join(_lines(check)))
    if check.verdict in ELEMENTS:
        problem = Xml.SubElement(
            case, ELEMENTS[check.verdict], message=_legal(check.message), type=check.verdict
        )
        problem.text = text
    else:
        Xml.SubElement(case, "system-out").text = text


def _lines(check: Check) -> Iterable[str]:
    yield f"{check.verdict} {check.name}: {check.figure}" + (
        f" (bound: {check.bound})" if check.bound else ""
    )
    if check.message:
        yield check.message
    if check.examples:
        yield "examples: " + ", ".join(check.examples)


def _legal(words: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", words)
