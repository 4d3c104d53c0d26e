"""Comparison of the frames that each side sampled from a video file, if both report them."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import RuleInput
from vlm_parity.schema.trace import FrameSampling, Trace


def describe_frame_sampling_difference(rule_input: RuleInput) -> str | None:
    """Describe the first video that the two sides sampled differently; None if there is none, or unknown."""
    reference, tested = _samplings(rule_input.pair.reference), _samplings(rule_input.pair.tested)
    for name, expected in reference.items():
        actual = tested.get(name)
        if actual is not None and actual.indices != expected.indices:
            return (
                f"From {name}, {rule_input.pair.tested.backend} sampled {_format_frame_sampling(actual)}, "
                f"and the reference {_format_frame_sampling(expected)}"
            )
    return None


def _samplings(trace: Trace) -> dict[str, FrameSampling]:
    samplings = {f"{medium.modality} {medium.item}": medium.frame_sampling for medium in trace.media or ()}
    return {name: sampling for name, sampling in samplings.items() if sampling is not None}


def _format_frame_sampling(sampling: FrameSampling) -> str:
    return f"{sampling.description} at {sampling.fps:g} frames per second ({sampling.decoder})"
