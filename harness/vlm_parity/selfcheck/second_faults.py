"""Cases on which released engines differ without a fault: a fault behind that has to be found, too."""

from __future__ import annotations

from collections.abc import Mapping

from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault

DIFFERING_CASES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("lmdeploy", "qwen2_vl"): ("one_image", "two_texts"),
    ("lmdeploy", "qwen2_5_vl"): ("two_texts",),
    ("lmdeploy", "qwen3_vl"): ("two_texts",),
    ("vllm", "qwen2_vl"): ("transparent_image",),
    ("vllm", "qwen2_5_vl"): ("one_video", "transparent_image"),
    ("vllm", "qwen3_vl"): ("rotated_image",),
}
"""By backend and family; each is a known issue in ``cases/known_issues.toml``."""
_BEHIND = (Stage.PREFILL, Stage.DECODE, Stage.GREEDY)


def list_second_faults(
    faults: tuple[Fault, ...], backend: str, model: str, mode: str
) -> tuple[tuple[Fault, str], ...]:
    """List the faults to inject behind a difference of an engine, each with the case.

    Args:
        faults: to choose from.
        backend: name of the engine's backend.
        model: the family.
        mode: of the engine.
    """
    if mode != DEFAULT_MODE:
        return ()
    return tuple(
        (fault, case)
        for case in DIFFERING_CASES.get((backend, model), ())
        for fault in faults
        if fault.stage in _BEHIND
        and fault.mode == mode
        and backend in fault.injectors
        and model in fault.models
    )
