"""The text of an issue for the maintainers of an engine, as Markdown: all evidence of one verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from vlm_parity.report.causes import format_confidence
from vlm_parity.report.entries import VerdictEntry, list_stages
from vlm_parity.report.environments import build_environment_rows
from vlm_parity.schema.case import Case
from vlm_parity.schema.verdict import Diagnosis, DiffStatus, StageDiff, Verdict

_MAX_LENGTH = 4000
_MAX_URL_LENGTH = 80


def build_issue(entry: VerdictEntry, case: Case | None) -> str:
    """Build the issue: title, finding, evidence, command, case and versions, ready to paste."""
    verdict = entry.verdict
    sections = [
        f"# {_title(verdict)}",
        verdict.reason,
        f"Known issue: {verdict.known}" if verdict.known else "",
        *(_diagnosis(diagnosis) for diagnosis in verdict.diagnoses[:1]),
        f"Mode {verdict.mode}: {verdict.tested.mode_note}." if verdict.tested.mode_note else "",
        "\n".join(_stage_table(verdict)),
        *(_finding(diff) for diff in _findings(verdict)),
        _message(verdict),
        f"**Reproduce** (vlm-parity)\n\n{format_code_block(verdict.reproduce, 'sh')}",
        f"**Case** `{verdict.case}`\n\n{format_code_block(format_case(case), 'yaml')}" if case else "",
        "\n".join(_versions(verdict)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def format_case(case: Case) -> str:
    """Format a case as in its file; data URLs are cut."""
    data = case.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    text: str = yaml.safe_dump(_shorten_urls(data), sort_keys=False, allow_unicode=True, width=100)
    return text


def format_code_block(text: str, language: str = "") -> str:
    """Format a code block whose fence is longer than any in the text, so that the text cannot end it."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    more = f"\n... ({len(text) - _MAX_LENGTH} more characters)" if len(text) > _MAX_LENGTH else ""
    return f"{fence}{language}\n{text[:_MAX_LENGTH].rstrip()}{more}\n{fence}"


def _title(verdict: Verdict) -> str:
    at = f" at {verdict.first_divergence}" if verdict.first_divergence else ""
    return f"{verdict.label}: {verdict.kind}{at} against transformers ({verdict.model}, {verdict.case})"


def _stage_table(verdict: Verdict) -> Iterator[str]:
    compared = [diff for diff in list_stages(verdict) if diff.status != DiffStatus.NOT_COMPARED]
    rest = [diff.stage for diff in list_stages(verdict) if diff.status == DiffStatus.NOT_COMPARED]
    if compared:
        yield "| stage | result | numbers |"
        yield "|---|---|---|"
    for diff in compared:
        numbers = ", ".join(f"{_cell(name)} {_number(value)}" for name, value in diff.metrics.items())
        follows = " (follows from the above)" if diff.consequence else ""
        yield f"| {diff.stage} | {diff.status}{follows} | {numbers} |"
    if compared and rest:
        yield ""
    if rest:
        yield f"Not compared: {', '.join(rest)}."


def _findings(verdict: Verdict) -> Iterator[StageDiff]:
    for diff in list_stages(verdict):
        if diff.status == DiffStatus.MISMATCH and not diff.consequence and diff.message:
            yield diff


def _finding(diff: StageDiff) -> str:
    return f"**{diff.stage}**\n\n{format_code_block(diff.message)}"


def _diagnosis(diagnosis: Diagnosis) -> str:
    confidence = format_confidence(diagnosis.confidence)
    return f"**Cause** ({confidence}): {_cell(diagnosis.cause)}\n\n{_cell(diagnosis.explanation)}"


def _message(verdict: Verdict) -> str:
    message = verdict.tested.message
    return f"**Output of {verdict.backend}**\n\n{format_code_block(message)}" if message else ""


def _versions(verdict: Verdict) -> Iterator[str]:
    yield "<details><summary>Versions</summary>\n"
    yield "| | transformers (reference) | " + f"{verdict.backend} |"
    yield "|---|---|---|"
    reference, tested = verdict.reference.environment, verdict.tested.environment
    for name, left, right in build_environment_rows(reference, tested):
        yield f"| {_cell(name)} | {_cell(left)} | {_cell(right)} |"
    yield "\n</details>"


def _cell(text: str) -> str:
    """Escape text so that it cannot end a Markdown table cell or start HTML."""
    plain = re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|")
    return plain.replace("<", "&lt;").replace("`", "'")


def _number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"


def _shorten_urls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shorten_urls(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_shorten_urls(child) for child in value]
    if isinstance(value, str) and value.startswith("data:") and len(value) > _MAX_URL_LENGTH:
        return f"{value[:_MAX_URL_LENGTH]}... ({len(value)} characters)"
    return value
