"""Classes of the style sheet and symbols for kinds and statuses: never a color alone."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.drift.stages import DriftStatus
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

KIND_STYLE = {
    VerdictKind.HARNESS_ERROR: ("dire", "✗"),
    VerdictKind.CRASH: ("dire", "‼"),
    VerdictKind.ERROR: ("bad", "!"),
    VerdictKind.INVALID: ("bad", "?"),
    VerdictKind.MISMATCH: ("bad", "≠"),
    VerdictKind.UNSTABLE: ("bad", "±"),
    VerdictKind.FIXED: ("warn", "↺"),
    VerdictKind.UNSUPPORTED: ("none", "–"),
    VerdictKind.KNOWN: ("warn", "≈"),
    VerdictKind.MATCH: ("good", "="),
    VerdictKind.REFUSED: ("good", "∅"),
}
"""The class and the symbol of each kind of verdict."""

DRIFT_STYLE = {
    DriftStatus.EQUAL: ("good", "="),
    DriftStatus.ROUNDING: ("good", "≈"),
    DriftStatus.DRIFT: ("bad", "≠"),
    DriftStatus.NOT_COMPARED: ("none", "–"),
}

STATUS_STYLE = {
    DiffStatus.MATCH: ("good", "="),
    DiffStatus.MISMATCH: ("bad", "≠"),
    DiffStatus.NOT_COMPARED: ("none", "–"),
}


STAGE_SYMBOLS = {
    Stage.PROMPT: "pr",
    Stage.INPUT_IDS: "id",
    Stage.SPANS: "sp",
    Stage.ENCODER_BUDGET: "eb",
    Stage.MEDIA: "me",
    Stage.POSITIONS: "po",
    Stage.VISION: "vi",
    Stage.PREFILL: "pf",
    Stage.DECODE: "de",
    Stage.GREEDY: "gr",
}
"""Two letters for each stage, in order."""


@dataclass(frozen=True)
class StageLight:
    """The result of a stage as a small box in a row of ten."""

    style: str
    """Classes in the style sheet."""
    symbol: str
    label: str
    """The result in words."""


_CONSEQUENCE = StageLight("bad follows", "↳", "mismatch, a consequence")


def get_light(diff: StageDiff) -> StageLight:
    """Return the light of a stage; a comparison on given values replaces that on the engine's own."""
    if diff.conditioned is not None and diff.is_compared_on_given:
        style, symbol = STATUS_STYLE[diff.conditioned.status]
        return StageLight(f"{style} given", symbol, f"{diff.conditioned.status} on given values")
    if diff.consequence:
        return _CONSEQUENCE
    style, symbol = STATUS_STYLE[diff.status]
    return StageLight(style, symbol, str(diff.status))
