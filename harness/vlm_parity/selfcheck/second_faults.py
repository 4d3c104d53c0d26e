"""Cases on which released engines differ without a fault: a fault behind that has to be found, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.record import STRICT_DTYPE


@dataclass(frozen=True)
class DifferingCase:
    """A case with a known difference."""

    name: str
    stage: Stage
    """The first differing stage."""
    has_equal_spans: bool = True
    """True if the media have the same places on both sides. At others, no engine can be given them."""
    in_strict_dtype_only: bool = False
    """True if the difference lies within the noise of coarser dtypes."""


DIFFERING_CASES: Mapping[tuple[str, str], tuple[DifferingCase, ...]] = {
    ("lmdeploy", "qwen2_vl"): (
        DifferingCase("one_image", Stage.VISION, in_strict_dtype_only=True),
        DifferingCase("two_texts", Stage.PROMPT),
    ),
    ("lmdeploy", "qwen2_5_vl"): (DifferingCase("two_texts", Stage.PROMPT),),
    ("lmdeploy", "qwen3_vl"): (DifferingCase("two_texts", Stage.PROMPT),),
    ("lmdeploy", "internvl"): (DifferingCase("two_texts", Stage.PROMPT),),
    ("lmdeploy", "glm4v"): (DifferingCase("two_texts", Stage.PROMPT),),
    ("vllm", "glm4v"): (
        DifferingCase("several_turns", Stage.PROMPT, has_equal_spans=False),
        DifferingCase("rotated_image", Stage.MEDIA),
    ),
    ("vllm", "internvl"): (
        DifferingCase("one_video", Stage.INPUT_IDS),
        DifferingCase("transparent_image", Stage.MEDIA),
    ),
    ("vllm", "llava"): (DifferingCase("one_image", Stage.INPUT_IDS, has_equal_spans=False),),
    ("vllm", "llava_onevision"): (
        DifferingCase("two_images", Stage.INPUT_IDS, has_equal_spans=False),
        DifferingCase("transparent_image", Stage.MEDIA),
    ),
    ("vllm", "qwen2_vl"): (DifferingCase("transparent_image", Stage.MEDIA),),
    ("vllm", "qwen2_5_omni"): (DifferingCase("transparent_image", Stage.MEDIA),),
    ("vllm", "qwen2_5_vl"): (
        DifferingCase("one_video", Stage.POSITIONS),
        DifferingCase("transparent_image", Stage.MEDIA),
    ),
    ("vllm", "qwen3_vl"): (DifferingCase("rotated_image", Stage.MEDIA),),
}
"""By backend and family; each is a known issue in ``cases/known_issues.toml``."""


def list_second_faults(
    faults: tuple[Fault, ...], backend: str, model: str, dtype: str
) -> tuple[tuple[Fault, DifferingCase], ...]:
    """List the faults to inject behind a difference of an engine in the default mode, each with the case.

    Args:
        faults: to choose from.
        backend: name of the engine's backend.
        model: the family.
        dtype: of the engine.
    """
    return tuple(
        (fault, case)
        for case in DIFFERING_CASES.get((backend, model), ())
        for fault in faults
        if (dtype == STRICT_DTYPE or not case.in_strict_dtype_only)
        and fault.mode == DEFAULT_MODE
        and fault.shows_behind
        and fault.stage in _find_judged_stages(backend, case)
        and backend in fault.injectors
        and model in (*fault.models, *fault.models_behind)
    )


def _find_judged_stages(backend: str, case: DifferingCase) -> set[Stage]:
    """Return the stages that are compared behind a difference, on values that the engine is given."""
    stages = {Stage.PREFILL, Stage.DECODE, Stage.GREEDY}
    gets_media = Condition.MEDIA in load_backend_class(backend).conditions and case.has_equal_spans
    return stages | {Stage.VISION} if gets_media else stages
