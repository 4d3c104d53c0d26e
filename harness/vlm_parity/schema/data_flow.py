"""The flow of data between stages: one difference follows from another only if data flows from it."""

from __future__ import annotations

from collections.abc import Mapping

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.trace import Stage

INPUTS: Mapping[Stage, tuple[Stage, ...]] = {
    Stage.PROMPT: (),
    Stage.INPUT_IDS: (Stage.PROMPT,),
    Stage.SPANS: (Stage.INPUT_IDS,),
    Stage.ENCODER_BUDGET: (),
    # Another number of media, or of frames, shows in the ids first.
    Stage.MEDIA: (Stage.INPUT_IDS, Stage.SPANS),
    Stage.POSITIONS: (Stage.INPUT_IDS, Stage.SPANS, Stage.MEDIA),
    Stage.VISION: (Stage.MEDIA,),
    Stage.PREFILL: (Stage.INPUT_IDS, Stage.POSITIONS, Stage.VISION),
    Stage.DECODE: (Stage.POSITIONS, Stage.PREFILL),
    Stage.GREEDY: (Stage.INPUT_IDS, Stage.PREFILL, Stage.DECODE),
}
"""The stages whose data enter each stage directly."""


_STAGES = tuple(Stage)
GIVEN: Mapping[Condition, frozenset[Stage]] = {
    Condition.MEDIA: frozenset(_STAGES[: _STAGES.index(Stage.POSITIONS)]),
    Condition.FEATURES: frozenset(_STAGES[: _STAGES.index(Stage.PREFILL)]),
}
"""The stages at which an engine runs on the reference's values; nothing is to be compared there."""


def find_consequences(differs: Mapping[Stage, bool | None]) -> frozenset[Stage]:
    """Return the stages whose difference may follow from one at an earlier stage.

    Args:
        differs: by stage, True if it differs, False if it agrees, None if it was not compared.
    """
    return frozenset(stage for stage in find_inflows(differs) if differs[stage])


def find_inflows(differs: Mapping[Stage, bool | None]) -> frozenset[Stage]:
    """Return the stages into which a difference may flow.

    A stage that agrees stops a difference: nothing different flows out of it. One that was not compared
    passes on what flows in.

    Args:
        differs: as for ``find_consequences``.
    """
    flows_in: dict[Stage, bool] = {}
    flows_out: dict[Stage, bool] = {}
    for stage in Stage:
        flows_in[stage] = any(flows_out[source] for source in INPUTS[stage])
        state = differs[stage]
        flows_out[stage] = flows_in[stage] if state is None else state
    return frozenset(stage for stage in Stage if flows_in[stage])
