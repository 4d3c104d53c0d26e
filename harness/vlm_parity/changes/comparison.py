"""Comparisons of a run: their identity from run to run, and the results of a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth, EntryPoint, engine_label
from vlm_parity.schema.location import Location
from vlm_parity.schema.record import Record, Seconds
from vlm_parity.schema.trace import Environment, Outcome, Stage
from vlm_parity.schema.verdict import StageDiff, StageResult, Verdict, VerdictKind

REFUSAL = "refusal"
"""Replaces the stage of a difference if the reference refuses a case that the engine accepts."""
LIMIT_RATIO = "limit_ratio"
_AGREEING = {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.FIXED}


class State(StrEnum):
    """Result of a comparison, known issues aside."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, order=True)
class Identity:
    """The fields that are equal if two verdicts of different runs belong to the same comparison."""

    model: str
    backend: str
    mode: str
    entry_point: EntryPoint
    case: str
    dtype: str
    device: str
    depth: Depth
    checkpoint: str
    """Digest of the checkpoint's files; empty if the record holds none."""
    case_digest: str

    @property
    def label(self) -> str:
        """Name of the backend in its setup: ``vllm``, ``vllm-chunked_prefill``."""
        return engine_label(self.backend, self.mode, self.entry_point)

    def drop_digests(self) -> Identity:
        """Return the identity without digests: that of the same names, whatever their contents."""
        return replace(self, checkpoint="", case_digest="")


class Cause(Record):
    """A cause that explains the difference at a stage."""

    stage: Stage
    name: str
    """The same for every case: ``pad token used as image token``."""
    confidence: float


class LocatedModule(Record):
    """The first module of the reference that an engine computes differently."""

    condition: Condition | None = None
    """Values of the reference that the engine was given; None if it ran on its own."""
    module: str
    point: str
    cause: str = ""

    @property
    def description(self) -> str:
        """The module, the point in it, and the cause."""
        return f"{self.module}, {self.point}{f' ({self.cause})' if self.cause else ''}"


@dataclass(frozen=True)
class Comparison:
    """The results of a verdict, without its evidence."""

    identity: Identity
    kind: VerdictKind
    reason: str
    first_divergence: Stage | None
    known: str
    reproduce: str
    stages: tuple[StageResult, ...]
    reference_outcome: Outcome
    reference_environment: Environment
    environment: Environment
    causes: tuple[Cause, ...] = ()
    """In the order of the stages, for each the most confident first."""
    modules: tuple[LocatedModule, ...] = ()
    has_max_size: bool = False
    """True if the engine determines the size of a medium: the digest of the case depends on it."""
    largest_medium: str = ""
    """The medium for which the engine reserves its encoder budget, as JSON; empty if there is none."""
    is_finding: bool = False
    """True if the fuzzer drew the case."""
    retry_note: str = ""
    """A sentence on the attempts that failed before; empty if none did."""
    seconds: Mapping[str, Seconds] = field(default_factory=dict)
    """Wall time of the engine's trace by phase."""

    @classmethod
    def of(cls, verdict: Verdict, checkpoint: str = "", is_finding: bool = False) -> Comparison:
        """Return the results of a verdict.

        Args:
            verdict: the verdict.
            checkpoint: digest of the checkpoint's files; empty if it is unknown.
            is_finding: the fuzzer drew the case.
        """
        tested, budget = verdict.tested, verdict.tested.encoder_budget
        return cls(
            identity=_build_identity(verdict, checkpoint),
            kind=verdict.kind,
            reason=verdict.reason,
            first_divergence=verdict.first_divergence,
            known=verdict.known,
            reproduce=verdict.reproduce,
            stages=tuple(map(_reduce_diff, verdict.stages)),
            reference_outcome=verdict.reference.outcome,
            reference_environment=verdict.reference.environment,
            environment=tested.environment,
            causes=tuple(
                Cause(stage=each.stage, name=each.cause, confidence=each.confidence)
                for each in verdict.diagnoses
            ),
            modules=tuple(_reduce_location(each) for each in verdict.locations if each.differences),
            has_max_size=tested.max_size_modality is not None,
            largest_medium=budget.medium.model_dump_json() if budget is not None else "",
            is_finding=is_finding,
            retry_note=verdict.passes_note if verdict.attempts else "",
            seconds=dict(tested.seconds),
        )

    @property
    def state(self) -> State:
        """The result; a known failure of the engine is no comparison."""
        if self.kind in _AGREEING:
            return State.AGREES
        if self.kind in {VerdictKind.MISMATCH, VerdictKind.UNSTABLE}:
            return State.DIFFERS
        if self.kind is VerdictKind.KNOWN:
            is_refusal = self.reference_outcome is Outcome.REFUSED
            differs = is_refusal or any(result.independent for result in self.stages)
            return State.DIFFERS if differs else State.NOT_COMPARED
        return State.NOT_COMPARED

    @property
    def is_failing(self) -> bool:
        """True if the verdict fails for another reason than a fixed known issue."""
        return not self.kind.passes and self.kind is not VerdictKind.FIXED

    @property
    def judged_stages(self) -> tuple[Stage, ...]:
        """The stages with a result of their own, in order.

        A mismatch that may follow from an earlier one has none, unless the stage was compared on given
        values.
        """
        judged = {
            result.stage
            for result in self.stages
            if result.differs is False or result.independent is not None or result.is_compared_on_given
        }
        return tuple(stage for stage in Stage if stage in judged)

    @property
    def differences(self) -> dict[str, StageResult | None]:
        """The independent differences by stage; a refusal has no result of a stage."""
        if self.state is not State.DIFFERS:
            return {}
        found = (result.independent for result in self.stages)
        return {str(each.stage): each for each in found if each is not None} or {REFUSAL: None}

    @property
    def margins(self) -> dict[Stage, float]:
        """The stages that match within a limit, each with its distance as a fraction of the limit."""
        sizes = get_sizes(self.stages)
        matching = (each.stage for each in self.stages if _get_judged(each).differs is False)
        return {stage: sizes[stage] for stage in matching if stage in sizes}

    @property
    def title(self) -> str:
        """The case, the model, and the backend with mode and entry point."""
        return f"{self.identity.case} · {self.identity.model} · {self.identity.label}"

    def get_cause(self, stage: str) -> str:
        """Return the most likely cause of the difference at a stage; empty if no rule explains it."""
        return next((each.name for each in self.causes if each.stage == stage), "")


def get_size(result: StageResult | None) -> float | None:
    """Return the distance as a fraction of the limit, NaN as infinity; None for an exact stage."""
    if result is None or LIMIT_RATIO not in result.metrics:
        return None
    size = float(result.metrics[LIMIT_RATIO])
    return math.inf if math.isnan(size) else size


def get_sizes(results: Iterable[StageResult]) -> dict[Stage, float]:
    """Return the distance at each stage that has a limit, on given values if it was compared on them."""
    sizes = ((result.stage, get_size(_get_judged(result))) for result in results)
    return {stage: size for stage, size in sizes if size is not None}


def _get_judged(result: StageResult) -> StageResult:
    given = result.conditioned if result.is_compared_on_given else None
    return given if given is not None else result


def _build_identity(verdict: Verdict, checkpoint: str) -> Identity:
    environment = verdict.tested.environment
    return Identity(
        model=verdict.model,
        backend=verdict.backend,
        mode=verdict.mode,
        entry_point=verdict.entry_point,
        case=verdict.case,
        dtype=environment.dtype,
        device=environment.device,
        depth=verdict.depth,
        checkpoint=checkpoint,
        case_digest=verdict.tested.case_digest,
    )


def _reduce_diff(diff: StageDiff) -> StageResult:
    return StageResult(
        stage=diff.stage,
        status=diff.status,
        metrics=diff.metrics,
        consequence=diff.consequence,
        condition=diff.condition,
        conditioned=_reduce_diff(diff.conditioned) if diff.conditioned is not None else None,
    )


def _reduce_location(location: Location) -> LocatedModule:
    first = location.differences[0]
    return LocatedModule(
        condition=location.condition, module=first.module, point=first.point, cause=first.cause
    )
