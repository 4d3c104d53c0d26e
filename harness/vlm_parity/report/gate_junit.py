"""The decision of the gate as JUnit XML, one test for each comparison, and as annotations."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from vlm_parity.changes.classify import Change
from vlm_parity.changes.gate import GateResult, Level, get_level
from vlm_parity.util.text import escape_invisible_lines

_COMMANDS = {Level.FAILURE: "error", Level.WARNING: "warning"}


def render_junit(result: GateResult) -> bytes:
    """Render JUnit XML: a test for each comparison, and one for each reason on the run as a whole."""
    suite = ET.Element("testsuite", name="parity gate")
    for change in result.changes:
        _add_comparison(suite, change)
    for reason in result.reasons:
        if not reason.changes:
            _add_test(suite, "run", reason.rule, reason.level, reason.rule, reason.text)
    failures = sum(test.find("failure") is not None for test in suite)
    suite.attrib |= {"tests": str(len(suite)), "failures": str(failures), "errors": "0", "skipped": "0"}
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def list_annotations(result: GateResult) -> Iterator[tuple[str, str, str]]:
    """Yield the command of GitHub Actions, the title and the text for each reason, not escaped yet."""
    for reason in result.reasons:
        yield _COMMANDS[reason.level], f"parity gate: {reason.rule}", reason.text


def _add_comparison(suite: ET.Element, change: Change) -> None:
    identity = change.comparison.identity
    lines = [*change.details, *(f"{remark.rule}: {remark.text}" for remark in change.remarks)]
    if change.run is not None and change.run.reason:
        lines.append(change.run.reason)
    if change.run is not None:
        lines.append(f"Reproduce: {change.run.reproduce}")
    place = f"{identity.model}.{identity.label}.{identity.dtype}.{identity.device}.{identity.depth}"
    point = f" at {change.stage}" if change.stage else ""
    cause = f": {change.cause}" if change.cause else ""
    message = f"{change.kind}{point}{cause}"
    _add_test(suite, place, identity.case, get_level(change), message, "\n".join(lines))


def _add_test(suite: ET.Element, place: str, name: str, level: Level | None, message: str, text: str) -> None:
    attributes = {"classname": escape_invisible_lines(place), "name": escape_invisible_lines(name)}
    test = ET.SubElement(suite, "testcase", attributes)
    message, text = escape_invisible_lines(message), escape_invisible_lines(text)
    if level is Level.FAILURE:
        ET.SubElement(test, "failure", message=message).text = text
    else:
        ET.SubElement(test, "system-out").text = f"{message}\n{text}"
