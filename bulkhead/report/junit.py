"""Verdicts as JUnit XML, the form in which a CI server shows tests."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from bulkhead.judge.verdict import Check, Verdict

# Characters that XML 1.0 cannot hold, not even as a reference.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A failure is what the stack did; an error is what the drill could not measure.
ELEMENTS = {"FAIL": "failure", "INVALID": "error"}


def junit(verdicts: Sequence[tuple[str, Verdict, float]]) -> str:
    """A test suite for each drill run (name, verdict, seconds), a test for each of its checks."""
    checks = [check for _, verdict, _ in verdicts for check in verdict.checks]
    seconds = sum(seconds for *_, seconds in verdicts)
    root = Xml.Element("testsuites", {"name": "bulkhead drills", **_totals(checks, seconds)})
    for name, verdict, seconds in verdicts:
        values = {"name": _legal(name), "skipped": "0", "time": f"{seconds:.3f}"}
        suite = Xml.SubElement(root, "testsuite", values | _totals(verdict.checks, seconds))
        properties = Xml.SubElement(suite, "properties")
        Xml.SubElement(properties, "property", name="verdict", value=verdict.verdict)
        for check in verdict.checks:
            _case(suite, name, check)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _totals(checks: Sequence[Check], seconds: float) -> dict[str, str]:
    judged = [check.verdict for check in checks]
    return {
        "tests": str(len(judged)),
        "failures": str(judged.count("FAIL")),
        "errors": str(judged.count("INVALID")),
        "time": f"{seconds:.3f}",
    }


def _case(suite: Xml.Element, drill: str, check: Check) -> None:
    """The time of a check is 0: the seconds are those of the drill, not of the judging."""
    names = {"classname": _legal(f"drill.{drill}"), "name": _legal(check.name)}
    case = Xml.SubElement(suite, "testcase", names, time="0")
    told = {"message": _legal(check.message), "type": check.verdict}
    kind = ELEMENTS.get(check.verdict, "system-out")
    said = Xml.SubElement(case, kind, told if check.verdict in ELEMENTS else {})
    bound = f" (bound: {check.bound})" if check.bound else ""
    examples = f"examples: {', '.join(check.examples)}" if check.examples else ""
    lines = (f"{check.verdict} {check.name}: {check.figure}{bound}", check.message, examples)
    said.text = _legal("\n".join(filter(None, lines)))


def _legal(words: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", words)
