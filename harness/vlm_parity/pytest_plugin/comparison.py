"""Value of the ``parity_comparison`` fixture: assertions on one verdict, one stage at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.session.session import NOT_COMPARABLE_ERRORS
from vlm_parity.util.suggestions import describe_unknown_name

_SKIPPING_KINDS = {
    VerdictKind.MATCH,
    VerdictKind.MISMATCH,
    VerdictKind.UNSTABLE,
    VerdictKind.KNOWN,
    VerdictKind.REFUSED,
    VerdictKind.UNSUPPORTED,
}
"""A stage that was not compared is skipped under these verdicts and fails under all others."""


class Comparison:
    """One case in one backend against transformers, as tests see it."""

    def __init__(self, verdict: Callable[[], Verdict]) -> None:
        self._get_verdict = verdict

    @property
    def verdict(self) -> Verdict:
        """The verdict; computed at the first access."""
        return self._get_verdict()

    def check(self, stage: Stage | str) -> None:
        """Pass if the stage matches, fail if it differs or does not exist, skip if it was not compared.

        Also fail if the case as a whole has failed: the engine refused it or crashed, the reference is not
        trustworthy, a known issue no longer occurs, or the harness itself failed. A known mismatch is an
        expected failure.
        """
        if stage not in [*Stage]:
            pytest.fail(
                describe_unknown_name("parity_comparison.check", stage, Stage, "no such stage"), pytrace=False
            )
        verdict = self._get_verdict_or_fail()
        diff = verdict.stage(Stage(stage))
        if verdict.kind in {VerdictKind.INVALID, VerdictKind.FIXED, VerdictKind.HARNESS_ERROR}:
            pytest.fail(_format_failure(verdict, f"{verdict.kind}: {verdict.reason}"), pytrace=False)
        differs = diff.status is DiffStatus.MISMATCH or _is_single_sided_failure(verdict)
        if verdict.kind is VerdictKind.KNOWN and differs:
            pytest.xfail(verdict.known)  # returns under --runxfail
        if diff.status is DiffStatus.MISMATCH:
            pytest.fail(_format_failure(verdict, _format_mismatch(verdict, diff)), pytrace=False)
        if diff.status is DiffStatus.NOT_COMPARED:
            self._skip_or_fail(verdict, diff)

    def _get_verdict_or_fail(self) -> Verdict:
        try:
            return self.verdict
        except NOT_COMPARABLE_ERRORS as error:
            message = str(error)
        except OSError as error:  # such as a full disk, on which no verdict can be written
            message = f"not compared: a file could not be read or written: {error}"
        pytest.fail(message, pytrace=False)

    def _skip_or_fail(self, verdict: Verdict, diff: StageDiff) -> None:
        if _is_single_sided_failure(verdict) or verdict.kind not in _SKIPPING_KINDS:
            pytest.fail(_format_failure(verdict, f"{verdict.kind}: {verdict.reason}"), pytrace=False)
        reason = verdict.reason if verdict.kind is VerdictKind.UNSUPPORTED else diff.message
        label = str(verdict.kind) if verdict.kind is not VerdictKind.MATCH else "not compared"
        pytest.skip(f"{label}: {reason}")


def _is_single_sided_failure(verdict: Verdict) -> bool:
    differs = verdict.kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}
    return differs and verdict.first_divergence is None


def _format_mismatch(verdict: Verdict, diff: StageDiff) -> str:
    lines = [diff.message]
    if diff.consequence:
        lines.append(f"(a consequence: {verdict.first_divergence} differs already)")
    if diff.stage is verdict.first_divergence and verdict.passes_note:
        lines.append(f"({verdict.passes_note})")
    return "\n".join(lines)


def _format_failure(verdict: Verdict, text: str) -> str:
    head = f"{verdict.case}: {verdict.model} in {verdict.label} against transformers"
    return f"{head}\n{text}\nreproduce: {verdict.reproduce}"
