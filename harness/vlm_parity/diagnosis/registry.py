"""Registry of the rules that explain differences.

A rule is a function with the decorator ``register_rule``; each module ``rules_*`` holds those of one topic.
Rules run on mismatches that do not follow from an earlier one, and only those registered for the stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Diagnosis, StageDiff, Verdict

_MODULES = (
    "conversation",
    "prompt",
    "timestamps",
    "input_ids",
    "token_counts",
    "spans",
    "encoder_budget",
    "media",
    "pixel_values",
    "image_processing",
    "audio",
    "positions",
    "vision",
    "logits",
    "entry_point",
)


@dataclass(frozen=True)
class RuleInput:
    """A difference and its context."""

    pair: TracePair
    diff: StageDiff
    """The stage to explain."""
    stages: tuple[StageDiff, ...]
    default: Verdict | None = None
    """The verdict on the same case in the default mode through the chat path, if this is a different setup
    and that verdict is known."""

    def stage(self, stage: Stage) -> StageDiff:
        """Return the diff of any stage."""
        return next(diff for diff in self.stages if diff.stage == stage)


Explanation = tuple[float, str]
"""The confidence, from 0 to 1, and one or two sentences with the numbers of this case."""


@dataclass(frozen=True)
class Rule:
    """A cause with the function that detects it."""

    cause: str
    """The name of the cause."""
    stages: tuple[Stage, ...]
    """The stages at which it can be the cause."""
    explain: Callable[[RuleInput], Explanation | None]
    is_general: bool
    """True if the cause names the part of the engine or the setup that differs, but no bug in it."""


RULES: list[Rule] = []


def register_rule(
    cause: str, *stages: Stage, is_general: bool = False
) -> Callable[[Callable[[RuleInput], Explanation | None]], Callable[[RuleInput], Explanation | None]]:
    """Register a function as the rule for a cause.

    Args:
        cause: the name of the cause.
        stages: the stages at which it can be the cause.
        is_general: True if many bugs have this cause, such as "pixels differ".
    """

    def register(
        function: Callable[[RuleInput], Explanation | None],
    ) -> Callable[[RuleInput], Explanation | None]:
        RULES.append(Rule(cause, stages, function, is_general))
        return function

    return register


def load_rules() -> list[Rule]:
    """Import all modules of rules and return their rules."""
    for name in _MODULES:
        import_module(f"vlm_parity.diagnosis.rules_{name}")
    return RULES


def list_causes() -> set[str]:
    """List every cause that a rule can name."""
    return {rule.cause for rule in load_rules()}


def list_general_causes(stage: Stage) -> set[str]:
    """List the causes at a stage that are true of many bugs and name none of them."""
    return {rule.cause for rule in load_rules() if rule.is_general and stage in rule.stages}


def explain_diff(rule_input: RuleInput) -> tuple[Diagnosis, ...]:
    """Explain a difference by all rules that apply, the most confident first."""
    diagnoses = []
    for rule in load_rules():
        explanation = rule.explain(rule_input) if rule_input.diff.stage in rule.stages else None
        if explanation is not None:
            confidence, sentence = explanation
            diagnoses.append(
                Diagnosis(
                    stage=rule_input.diff.stage,
                    cause=rule.cause,
                    explanation=sentence,
                    confidence=confidence,
                )
            )
    return tuple(sorted(diagnoses, key=lambda diagnosis: -diagnosis.confidence))
