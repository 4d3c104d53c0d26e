"""What a test asks of the harness: one (model, backend, variant, case), one stage at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.session.session import NOT_COMPARABLE_ERRORS

_OPTIONAL_STAGES = {
    VerdictKind.MATCH,
    VerdictKind.MISMATCH,
    VerdictKind.KNOWN,
    VerdictKind.REFUSED,
    VerdictKind.UNSUPPORTED,
}
"""A stage that was not compared is skipped under these verdicts; under the others it fails."""


class Comparison:
    """The ``comparison`` fixture."""

    def __init__(self, verdict: Callable[[], Verdict]) -> None:
        self._verdict = verdict

    @property
    def verdict(self) -> Verdict:
        """The verdict; captured with the first test that asks for it."""
        return self._verdict()

    def check(self, stage: Stage | str) -> None:
        """Passes where the stage matches, fails where it differs, skips where it was not compared.

        It fails too where the whole case failed: the engine refused it, died, the reference is not to
        be trusted, or the ledger knows a mismatch that is gone. A difference that the ledger knows is
        expected to fail.
        """
        verdict = self._verdict_or_fail()
        diff = verdict.stage(Stage(stage))
        if verdict.kind in {VerdictKind.INVALID, VerdictKind.FIXED}:
            pytest.fail(_format_failure(verdict, f"{verdict.kind}: {verdict.reason}"), pytrace=False)
        differs = diff.status is DiffStatus.MISMATCH or _is_single_sided_failure(verdict)
        if verdict.kind is VerdictKind.KNOWN and differs:
            pytest.xfail(verdict.known)  # goes on under --runxfail
        if diff.status is DiffStatus.MISMATCH:
            pytest.fail(_format_failure(verdict, _format_consequence(verdict, diff)), pytrace=False)
        if diff.status is DiffStatus.NOT_COMPARED:
            self._not_compared(verdict, diff)

    def _verdict_or_fail(self) -> Verdict:
        try:
            return self.verdict
        except NOT_COMPARABLE_ERRORS as problem:
            said = str(problem)
        pytest.fail(said, pytrace=False)

    def _not_compared(self, verdict: Verdict, diff: StageDiff) -> None:
        if _is_single_sided_failure(verdict) or verdict.kind not in _OPTIONAL_STAGES:
            pytest.fail(_format_failure(verdict, f"{verdict.kind}: {verdict.reason}"), pytrace=False)
        reason = verdict.reason if verdict.kind is VerdictKind.UNSUPPORTED else diff.message
        label = str(verdict.kind) if verdict.kind is not VerdictKind.MATCH else "not compared"
        pytest.skip(f"{label}: {reason}")


def _is_single_sided_failure(verdict: Verdict) -> bool:
    parts_ways = verdict.kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}
    return parts_ways and verdict.first_divergence is None


def _format_consequence(verdict: Verdict, diff: StageDiff) -> str:
    if not diff.consequence:
        return diff.message
    return f"{diff.message}\n(a consequence: the two part ways at {verdict.first_divergence} already)"


def _format_failure(verdict: Verdict, text: str) -> str:
    head = f"{verdict.case}: {verdict.model} in {verdict.label} against transformers"
    return f"{head}\n{text}\nreproduce: {verdict.reproduce}"
