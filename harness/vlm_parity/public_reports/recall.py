"""Field recall: how many public reports can be written, and how many are found where they live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vlm_parity.public_reports.catalog import ERROR, REFUSAL, Finding, PublicReport, Status
from vlm_parity.schema.record import Count, Record
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict, VerdictKind

_NOT_COMPARED = {VerdictKind.UNSUPPORTED, VerdictKind.INVALID, VerdictKind.HARNESS_ERROR}


class Recall(Record):
    """Counts of reports; each is a part of the one before it."""

    reports: Count
    written: Count
    live: Count
    found: Count
    right_stage: Count
    right_cause: Count


def count_recall(reports: Iterable[PublicReport]) -> Recall:
    """Count the reports."""
    listed = list(reports)
    return Recall(
        reports=len(listed),
        written=sum(report.is_written for report in listed),
        live=sum(report.is_live for report in listed),
        found=sum(report.is_found for report in listed),
        right_stage=sum(report.has_right_stage for report in listed),
        right_cause=sum(report.has_right_cause for report in listed),
    )


def find_verdict(report: PublicReport, verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the verdict of a run on the case of a report."""
    return next(
        (
            verdict
            for verdict in verdicts
            if (verdict.backend, verdict.model, verdict.case) == (report.backend, report.model, report.case)
            and (verdict.mode, verdict.entry_point) == (report.mode, report.entry_point)
        ),
        None,
    )


def read_finding(verdict: Verdict) -> Finding | None:
    """Return the first difference of a verdict with its most confident cause; None if nothing differs."""
    if verdict.kind in {VerdictKind.MATCH, VerdictKind.REFUSED}:
        return None
    if verdict.first_divergence is None:
        has_failed = verdict.tested.outcome in {Outcome.ERROR, Outcome.CRASH}
        return Finding(stage=ERROR if has_failed else REFUSAL)
    stage = verdict.first_divergence
    causes = [diagnosis.cause for diagnosis in verdict.diagnoses if diagnosis.stage == stage]
    return Finding(stage=stage, cause=causes[0] if causes else "")


def find_deviations(reports: Iterable[PublicReport], verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Yield a sentence about each live report that a run asked and did not find as the catalog says.

    A report that is said to agree and differs is one, too: its status has changed.
    """
    listed = list(verdicts)
    for report in reports:
        verdict = find_verdict(report, listed)
        if verdict is None or report.status not in {Status.LIVE, Status.AGREES}:
            continue
        if verdict.kind in _NOT_COMPARED:
            yield f"{report.name}: was not compared: {verdict.kind}: {verdict.reason}"
            continue
        found = read_finding(verdict)
        if found != report.found:
            yield f"{report.name}: {_describe(found)}, and the catalog says {_describe(report.found)}"


def _describe(finding: Finding | None) -> str:
    if finding is None:
        return "no difference"
    return f"{finding.stage}, {finding.cause or 'no cause'}"
