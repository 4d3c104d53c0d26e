"""What one release said of one case, as it is written to disk."""

from __future__ import annotations

from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind


class ReleaseAnswer(Record):
    """One release's verdict on one case, and what it was given in."""

    backend: str
    release: str
    model: str
    case: str
    environment: str = ""
    """The folder of the environment in the cache."""
    requirements: tuple[str, ...] = ()
    """What the environment was made of."""
    packages: dict[str, str] = {}
    """The versions that decide, as the trace has them."""
    built_seconds: float = 0.0
    """What the environment took; 0 where it was there."""
    environment_bytes: int = 0
    """On disk, without what it shares with others."""
    seconds: float = 0.0
    """What asking took, the start of the engine and of transformers with it."""
    kind: VerdictKind | None = None
    """None where there is no verdict: ``problem`` says why."""
    stage: Stage | None = None
    """The first divergent stage."""
    cause: str = ""
    """The surest diagnosis; empty where there is none."""
    reason: str = ""
    shard: str = ""
    """The part of the run that holds the verdict."""
    page: str = ""
    """The page that shows it, relative to the run folder."""
    problem: str = ""
    """Why the release could not be asked."""

    @property
    def outcome(self) -> tuple[str, str, str]:
        """What makes two releases alike in a case: kind of verdict, first divergent stage, cause."""
        return str(self.kind or "not asked"), str(self.stage or ""), self.cause

    @property
    def has_verdict(self) -> bool:
        """Whether it says something of the release: not where nothing could be compared."""
        return self.kind not in {None, VerdictKind.INVALID, VerdictKind.CRASH}

    @property
    def outcome_text(self) -> str:
        """The outcome in a line: ``mismatch at input_ids: pad token used as image token``."""
        kind, stage, cause = self.outcome
        return kind + (f" at {stage}" if stage else "") + (f": {cause}" if cause else "")


def build_answer(answer: ReleaseAnswer, verdict: Verdict) -> ReleaseAnswer:
    """The answer with what the verdict says filled in."""
    return answer.model_copy(
        update={
            "packages": verdict.reference.environment.packages | verdict.tested.environment.packages,
            "kind": verdict.kind,
            "stage": verdict.first_divergence,
            "cause": verdict.diagnoses[0].cause if verdict.diagnoses else "",
            "reason": verdict.reason,
        }
    )
