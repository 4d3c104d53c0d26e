"""Why the two sides part: every rule looks at one first divergence and may explain it.

A rule is a function with the decorator ``rule``; the modules beside this one hold those of a stage
each. Rules are asked on a mismatch only, and only those of the stage that differs first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Diagnosis, StageDiff, Verdict

_MODULES = (
    "prompt",
    "timestamps",
    "input_ids",
    "token_counts",
    "spans",
    "encoder_budget",
    "media",
    "pixel_values",
    "image_processing",
    "positions",
    "vision",
    "logits",
    "entry_point",
)


@dataclass(frozen=True)
class RuleInput:
    """A first divergence with all that is known of it."""

    pair: TracePair
    diff: StageDiff
    """The first stage that differs."""
    stages: tuple[StageDiff, ...]
    default: Verdict | None = None
    """The verdict on the same case in the default mode through the chat path, if this is another setup and it is
    known."""

    def stage(self, stage: Stage) -> StageDiff:
        """The diff of any stage."""
        return next(diff for diff in self.stages if diff.stage == stage)


Explanation = tuple[float, str]
"""How sure the rule is, from 0 to 1, and one or two sentences with the numbers of this very case."""


@dataclass(frozen=True)
class Rule:
    """One explanation."""

    cause: str
    """The name of the cause in plain words."""
    stages: tuple[Stage, ...]
    """The first divergences that it can explain."""
    explain: Callable[[RuleInput], Explanation | None]


RULES: list[Rule] = []


def register_rule(
    cause: str, *stages: Stage
) -> Callable[[Callable[[RuleInput], Explanation | None]], Callable[[RuleInput], Explanation | None]]:
    """Registers a function as the rule for a cause."""

    def register(
        function: Callable[[RuleInput], Explanation | None],
    ) -> Callable[[RuleInput], Explanation | None]:
        RULES.append(Rule(cause, stages, function))
        return function

    return register


def load_rules() -> list[Rule]:
    """Every rule of every module."""
    for name in _MODULES:
        import_module(f"vlm_parity.diagnosis.rules_{name}")
    return RULES


def list_causes() -> set[str]:
    """Every cause that can be named."""
    return {known.cause for known in load_rules()}


def explain_diff(finding: RuleInput) -> tuple[Diagnosis, ...]:
    """What the rules make of a first divergence, the surest first."""
    found = []
    for known in load_rules():
        explanation = known.explain(finding) if finding.diff.stage in known.stages else None
        if explanation is not None:
            confidence, words = explanation
            found.append(Diagnosis(cause=known.cause, explanation=words, confidence=confidence))
    return tuple(sorted(found, key=lambda diagnosis: -diagnosis.confidence))
