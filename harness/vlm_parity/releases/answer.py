"""The result of one release on one case, as it is stored."""

from __future__ import annotations

from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind


class ReleaseAnswer(Record):
    """The verdict of one release on one case, and the environment of the release."""

    backend: str
    release: str
    model: str
    case: str
    environment: str = ""
    """Name of the environment's folder in the cache."""
    requirements: tuple[str, ...] = ()
    """Requirements that the environment was installed from."""
    packages: dict[str, str] = {}
    """Versions of the relevant packages, from the trace."""
    built_seconds: float = 0.0
    """Duration of the environment's build; 0 if it existed."""
    environment_bytes: int = 0
    """Size on disk, without what is shared with other environments."""
    seconds: float = 0.0
    """Duration of the run, with the start of the engine and of transformers."""
    kind: VerdictKind | None = None
    """None if there is no verdict; ``problem`` is the reason."""
    stage: Stage | None = None
    """The first divergent stage."""
    cause: str = ""
    """The most likely cause; empty without a diagnosis."""
    reason: str = ""
    shard: str = ""
    """The shard of the run that holds the verdict."""
    page: str = ""
    """Path of the verdict's page, relative to the run folder."""
    problem: str = ""
    """The reason why the release could not be run."""

    @property
    def outcome(self) -> tuple[str, str, str]:
        """Kind of verdict, first divergent stage, cause: releases with the same outcome count as equal."""
        return str(self.kind or "not run"), str(self.stage or ""), self.cause

    @property
    def has_verdict(self) -> bool:
        """True if the release was compared: not if the reference is invalid, the engine crashed, the harness
        failed, or there is no verdict.
        """
        return self.kind not in {
            None,
            VerdictKind.INVALID,
            VerdictKind.CRASH,
            VerdictKind.HARNESS_ERROR,
        }

    @property
    def outcome_text(self) -> str:
        """The outcome on one line: ``mismatch at input_ids: pad token used as image token``."""
        kind, stage, cause = self.outcome
        return kind + (f" at {stage}" if stage else "") + (f": {cause}" if cause else "")


def build_answer(answer: ReleaseAnswer, verdict: Verdict) -> ReleaseAnswer:
    """Return a copy of ``answer`` with the fields of the verdict filled in."""
    return answer.model_copy(
        update={
            "packages": verdict.reference.environment.packages | verdict.tested.environment.packages,
            "kind": verdict.kind,
            "stage": verdict.first_divergence,
            "cause": verdict.diagnoses[0].cause if verdict.diagnoses else "",
            "reason": verdict.reason,
        }
    )
