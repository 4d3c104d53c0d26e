"""Decides on one example: compares the traces of both sides and checks all properties."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.common.modes import build_batch_requests
from vlm_parity.fuzz.frontends import FrontendLoadError, FrontendPair, FrontendTrace
from vlm_parity.fuzz.properties import PropertyChecker, compare_traces, is_clear_refusal
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import FindingKey, get_finding_key, normalize_message
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.verdicts.decide import decide_verdict
from vlm_parity.verdicts.harness_errors import mark_harness_error

NOT_REPEATABLE, BATCH_DEPENDENT, UNCLEAR_REFUSAL = "not repeatable", "batch-dependent", "unclear refusal"
"""Properties beyond those of a verdict, by the names of their violations."""

BATCH_CASES = tuple(request.case for request in build_batch_requests())
"""The cases that the engine runs before a repeated case, and in a batch with it."""


class Oracle:
    """Runs cases of one model on both sides and decides on them.

    Args:
        frontends: both sides, loaded.
        checkpoint: of the model.
        config: the content of ``config.json``.
    """

    def __init__(self, frontends: FrontendPair, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        self._frontends = frontends
        self._properties = PropertyChecker(checkpoint, config)

    def examine(self, case: Case, repeated: bool, reproduce: str = "") -> tuple[Verdict, FindingKey | None]:
        """Run a case and decide on it.

        Args:
            case: for both sides.
            repeated: True to run it again in the engine, after other cases and in a batch with them.
            reproduce: the command that reproduces the verdict.

        Returns:
            The verdict and the key of the violated property, None if all properties hold.

        Raises:
            FrontendLoadError: a child crashed and its successor did not load.
        """
        reference, tested = self._frontends.capture_both(case)
        verdict = self._decide_verdict(reference, tested, reproduce)
        key = get_finding_key(verdict)
        if key is not None:
            return verdict, key
        try:
            return self._check_properties(case, reference, tested, verdict, repeated, reproduce)
        except FrontendLoadError:
            raise
        except Exception as error:  # a finding as well, and shrunk like the others
            traceback.print_exc()
            failed = mark_harness_error(verdict, "checking the properties", error)
            return failed, get_finding_key(failed)

    def _check_properties(
        self,
        case: Case,
        reference: FrontendTrace,
        tested: FrontendTrace,
        verdict: Verdict,
        repeated: bool,
        reproduce: str,
    ) -> tuple[Verdict, FindingKey | None]:
        """Check the properties beyond those of the verdict, which passes."""
        if verdict.kind is VerdictKind.REFUSED and _is_internal_error(reference, tested):
            return verdict, FindingKey(UNCLEAR_REFUSAL, normalize_message(tested.trace.message))
        violations = [
            violation for side in (reference, tested) for violation in self._properties.check(case, side)
        ]
        if violations:
            stage, message = violations[0]
            reason = f"the reference is invalid, and both sides match: {stage}: {message}"
            changed = verdict.model_copy(update={"kind": VerdictKind.INVALID, "reason": reason})
            return changed, FindingKey(f"invalid {stage}", normalize_message(message))
        return self._repeat(case, reference, tested, verdict, reproduce) if repeated else (verdict, None)

    def _repeat(
        self, case: Case, reference: FrontendTrace, tested: FrontendTrace, verdict: Verdict, reproduce: str
    ) -> tuple[Verdict, FindingKey | None]:
        for other in BATCH_CASES:
            between = self._frontends.capture_again(other).trace
            if between.outcome in {Outcome.CRASH, Outcome.HARNESS_ERROR}:
                # The repetition would run in a new child, as if nothing had come before it.
                reason = f"on the case {other.name}, after this one: {between.message}"
                kind = VerdictKind(between.outcome.value)
                changed = verdict.model_copy(update={"kind": kind, "reason": reason})
                return changed, FindingKey(NOT_REPEATABLE, normalize_message(reason))
        batches: list[tuple[str, tuple[Case, ...]]] = [(NOT_REPEATABLE, ())]
        batches += [(BATCH_DEPENDENT, BATCH_CASES)] if self._frontends.supports_batched_chat else []
        for name, batch_with in batches:
            repetition = self._frontends.capture_again(case, batch_with)
            stage = compare_traces(tested, repetition)
            if stage:
                changed = self._decide_verdict(reference, repetition, reproduce)
                reason = f"{name}: the same case has another result at {stage}: {changed.reason}"
                kind = VerdictKind.ERROR if changed.kind.passes else changed.kind
                return changed.model_copy(update={"kind": kind, "reason": reason}), FindingKey(name, stage)
        return verdict, None

    @staticmethod
    def _decide_verdict(reference: FrontendTrace, tested: FrontendTrace, reproduce: str) -> Verdict:
        return decide_verdict(reference.trace, tested.trace, reference.folder, tested.folder, reproduce)


def _is_internal_error(reference: FrontendTrace, tested: FrontendTrace) -> bool:
    """Return whether the engine refuses without a clear message, unless transformers does the same."""
    message = tested.trace.message
    return not is_clear_refusal(message) and normalize_message(message) != normalize_message(
        reference.trace.message
    )
