"""One example: what the two sides make of a case, and what does not hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.common.modes import build_batch_requests
from vlm_parity.fuzz.frontends import FrontendPair, FrontendTrace
from vlm_parity.fuzz.properties import PropertyChecker, compare_traces, is_clear_refusal
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import FindingKey, get_finding_key, normalize_message
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.verdicts.decide import decide_verdict

NOT_REPEATABLE, BATCH_DEPENDENT, UNCLEAR_REFUSAL = "again", "in a batch", "unclear refusal"
"""Properties beyond those of a verdict."""


BATCH_CASES = tuple(request.case for request in build_batch_requests())
"""What the engine is asked before a case is asked again, and beside it."""


class Oracle:
    """Asks both sides about one model, and judges."""

    def __init__(self, front: FrontendPair, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        """Args:
        front: both sides, loaded.
        checkpoint: of the model.
        config: the content of ``config.json``.
        """
        self._front = front
        self._properties = PropertyChecker(checkpoint, config)

    def examine(self, case: Case, repeated: bool, reproduce: str = "") -> tuple[Verdict, FindingKey | None]:
        """The verdict on a case, and what it breaks; None where everything holds.

        Args:
            case: to ask both sides.
            repeated: whether the engine is to be asked again, after others and in a batch with them.
            reproduce: the command that makes the verdict again.

        Raises:
            FrontendLoadError: a child died, and another did not load.
        """
        reference, tested = self._front.capture_both(case)
        verdict = self._decide_verdict(reference, tested, reproduce)
        key = get_finding_key(verdict)
        if key is not None:
            return verdict, key
        if verdict.kind is VerdictKind.REFUSED and _is_internal_error(reference, tested):
            return verdict, FindingKey(UNCLEAR_REFUSAL, normalize_message(tested.trace.message))
        broken = [*self._properties.find_broken(case, reference), *self._properties.find_broken(case, tested)]
        if broken:
            stage, said = broken[0]
            reason = f"the reference is not to be trusted, and both sides say the same: {stage}: {said}"
            changed = verdict.model_copy(update={"kind": VerdictKind.INVALID, "reason": reason})
            return changed, FindingKey(f"invalid {stage}", normalize_message(said))
        return self._repeated(case, reference, tested, verdict, reproduce) if repeated else (verdict, None)

    def _repeated(
        self, case: Case, reference: FrontendTrace, tested: FrontendTrace, verdict: Verdict, reproduce: str
    ) -> tuple[Verdict, FindingKey | None]:
        for between in BATCH_CASES:
            self._front.capture_again(between)
        ways: list[tuple[str, tuple[Case, ...]]] = [(NOT_REPEATABLE, ())]
        ways += [(BATCH_DEPENDENT, BATCH_CASES)] if self._front.supports_batched_chat else []
        for name, beside in ways:
            answer = self._front.capture_again(case, beside)
            stage = compare_traces(tested, answer)
            if stage:
                other = self._decide_verdict(reference, answer, reproduce)
                reason = f"{name}, the same case is answered otherwise, at {stage}: {other.reason}"
                kind = VerdictKind.ERROR if other.kind.passes else other.kind
                return other.model_copy(update={"kind": kind, "reason": reason}), FindingKey(name, stage)
        return verdict, None

    @staticmethod
    def _decide_verdict(reference: FrontendTrace, tested: FrontendTrace, reproduce: str) -> Verdict:
        return decide_verdict(reference.trace, tested.trace, reference.folder, tested.folder, reproduce)


def _is_internal_error(reference: FrontendTrace, tested: FrontendTrace) -> bool:
    """Whether the engine refuses in no clear words, and not because transformers raises inside it."""
    said = tested.trace.message
    return not is_clear_refusal(said) and normalize_message(said) != normalize_message(
        reference.trace.message
    )
