"""The text of an issue for the maintainers of an engine, as Markdown: all evidence of one verdict.

If the harness itself failed, it is an issue for the harness.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from vlm_parity.report import module_views
from vlm_parity.report.causes import format_confidence
from vlm_parity.report.entries import VerdictEntry, list_stages
from vlm_parity.report.environments import build_environment_rows
from vlm_parity.report.markdown import format_table
from vlm_parity.schema.case import Case
from vlm_parity.schema.verdict import Diagnosis, DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.util.text import escape_markdown, format_code_block

_MAX_URL_LENGTH = 80


def build_issue(entry: VerdictEntry, case: Case | None) -> str:
    """Build the issue: title, finding, evidence, command, case and versions, ready to paste."""
    verdict = entry.verdict
    sections = [
        f"# {escape_markdown(_title(verdict))}",
        _paragraph(verdict.reason),
        _paragraph(f"Known issue: {verdict.known}") if verdict.known else "",
        *(_diagnosis(top) for diff in verdict.differences for top in verdict.get_diagnoses(diff.stage)[:1]),
        _mode_note(verdict),
        "\n".join(_stage_table(verdict)),
        *(_finding(diff) for diff in _findings(verdict)),
        *("\n".join(module_views.render_markdown(each, verdict.backend)) for each in verdict.locations),
        _message(verdict),
        f"**Reproduce** (vlm-parity)\n\n{format_code_block(verdict.reproduce, 'sh')}",
        _case(case) if case else "",
        "\n".join(_versions(verdict)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def format_case(case: Case) -> str:
    """Format a case as in its file; data URLs are cut."""
    data = case.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    text: str = yaml.safe_dump(_shorten_urls(data), sort_keys=False, allow_unicode=True, width=100)
    return text


def _title(verdict: Verdict) -> str:
    if verdict.kind is VerdictKind.HARNESS_ERROR:
        return f"vlm-parity: the harness failed on {verdict.case} ({verdict.model}, {verdict.label})"
    at = f" at {verdict.first_divergence}" if verdict.first_divergence else ""
    return f"{verdict.label}: {verdict.kind}{at} against transformers ({verdict.model}, {verdict.case})"


def _paragraph(text: str) -> str:
    return "\n".join(map(escape_markdown, text.split("\n")))


def _mode_note(verdict: Verdict) -> str:
    note = verdict.tested.mode_note
    return escape_markdown(f"Mode {verdict.mode}: {note}.") if note else ""


def _case(case: Case) -> str:
    return f"**Case** {escape_markdown(case.name)}\n\n{format_code_block(format_case(case), 'yaml')}"


def _stage_table(verdict: Verdict) -> Iterator[str]:
    compared = [diff for diff in list_stages(verdict) if diff.status != DiffStatus.NOT_COMPARED]
    rest = [diff.stage for diff in list_stages(verdict) if diff.status == DiffStatus.NOT_COMPARED]
    given = [diff.conditioned for diff in list_stages(verdict) if diff.conditioned is not None]
    compared += [diff for diff in given if diff.status != DiffStatus.NOT_COMPARED]
    if compared:
        yield format_table(("stage", "result", "numbers"), map(_stage_row, compared))
    if compared and rest:
        yield ""
    if rest:
        yield f"Not compared: {', '.join(rest)}."


def _stage_row(diff: StageDiff) -> tuple[str, str, str]:
    numbers = ", ".join(f"{name} {_number(value)}" for name, value in diff.metrics.items())
    note = " (follows from the above)" if diff.consequence else ""
    if diff.condition is not None:
        note = f" on {diff.condition.description}"
    return diff.stage, f"{diff.status}{note}", numbers


def _findings(verdict: Verdict) -> Iterator[StageDiff]:
    shown = {diff.stage for diff in list_stages(verdict)}
    for diff in verdict.differences:
        if diff.stage in shown and diff.message:
            yield diff


def _finding(diff: StageDiff) -> str:
    given = f" on {diff.condition.description}" if diff.condition is not None else ""
    return f"**{diff.stage}**{given}\n\n{format_code_block(diff.message)}"


def _diagnosis(diagnosis: Diagnosis) -> str:
    confidence = format_confidence(diagnosis.confidence)
    cause, explanation = escape_markdown(diagnosis.cause), escape_markdown(diagnosis.explanation)
    return f"**Cause** ({confidence}): {cause}\n\n{explanation}"


def _message(verdict: Verdict) -> str:
    message = verdict.tested.message if verdict.kind is not VerdictKind.HARNESS_ERROR else ""
    title = f"**Output of {escape_markdown(verdict.backend)}**"
    return f"{title}\n\n{format_code_block(message)}" if message else ""


def _versions(verdict: Verdict) -> Iterator[str]:
    yield "<details><summary>Versions</summary>\n"
    reference, tested = verdict.reference.environment, verdict.tested.environment
    header = ("", "transformers (reference)", verdict.backend)
    yield format_table(header, build_environment_rows(reference, tested))
    yield "\n</details>"


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
