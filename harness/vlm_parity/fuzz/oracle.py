"""One example: what the two sides make of a case, and what does not hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.common.modes import others
from vlm_parity.fuzz.frontends import Answer, Front
from vlm_parity.fuzz.properties import Properties, apart, is_clear
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import Key, alike, key_of
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.verdicts.decide import judge

AGAIN, IN_A_BATCH, UNCLEAR = "again", "in a batch", "unclear refusal"
"""Properties beyond those of a verdict."""


OTHERS = tuple(request.case for request in others())
"""What the engine is asked before a case is asked again, and beside it."""


class Examiner:
    """Asks both sides about one model, and judges."""

    def __init__(self, front: Front, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        """
        Args:
            front: both sides, loaded.
            checkpoint: of the model.
            config: the content of ``config.json``.
        """
        self._front = front
        self._properties = Properties(checkpoint, config)

    def examine(self, case: Case, repeated: bool, reproduce: str = "") -> tuple[Verdict, Key | None]:
        """The verdict on a case, and what it breaks; None where everything holds.

        Args:
            case: to ask both sides.
            repeated: whether the engine is to be asked again, after others and in a batch with them.
            reproduce: the command that makes the verdict again.

        Raises:
            FrontendLoadError: a child died, and another did not load.
        """
        reference, tested = self._front.both(case)
        verdict = self._judge(reference, tested, reproduce)
        key = key_of(verdict)
        if key is not None:
            return verdict, key
        if verdict.kind is VerdictKind.REFUSED and _is_its_own_accident(reference, tested):
            return verdict, Key(UNCLEAR, alike(tested.trace.message))
        broken = [*self._properties.broken(case, reference), *self._properties.broken(case, tested)]
        if broken:
            stage, said = broken[0]
            reason = f"the reference is not to be trusted, and both sides say the same: {stage}: {said}"
            changed = verdict.model_copy(update={"kind": VerdictKind.INVALID, "reason": reason})
            return changed, Key(f"invalid {stage}", alike(said))
        return self._repeated(case, reference, tested, verdict, reproduce) if repeated else (verdict, None)

    def _repeated(
        self, case: Case, reference: Answer, tested: Answer, verdict: Verdict, reproduce: str
    ) -> tuple[Verdict, Key | None]:
        for between in OTHERS:
            self._front.again(between)
        ways: list[tuple[str, tuple[Case, ...]]] = [(AGAIN, ())]
        ways += [(IN_A_BATCH, OTHERS)] if self._front.takes_several else []
        for name, beside in ways:
            answer = self._front.again(case, beside)
            stage = apart(tested, answer)
            if stage:
                other = self._judge(reference, answer, reproduce)
                reason = f"{name}, the same case is answered otherwise, at {stage}: {other.reason}"
                kind = VerdictKind.ERROR if other.kind.passes else other.kind
                return other.model_copy(update={"kind": kind, "reason": reason}), Key(name, stage)
        return verdict, None

    @staticmethod
    def _judge(reference: Answer, tested: Answer, reproduce: str) -> Verdict:
        return judge(reference.trace, tested.trace, reference.folder, tested.folder, reproduce)


def _is_its_own_accident(reference: Answer, tested: Answer) -> bool:
    """Whether the engine refuses in no clear words, and not because transformers raises inside it."""
    said = tested.trace.message
    return not is_clear(said) and alike(said) != alike(reference.trace.message)
