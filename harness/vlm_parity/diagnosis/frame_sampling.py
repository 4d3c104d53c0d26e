"""Which frames each side took from the video files that it opened by itself, as far as it says."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import RuleInput
from vlm_parity.schema.trace import FrameSampling, Trace


def frame_sampling_differs(finding: RuleInput) -> str | None:
    """A sentence on the first video of which the two sides took other frames; None where they took the
    same, or do not say.
    """
    ours, theirs = _samplings(finding.pair.reference), _samplings(finding.pair.tested)
    for name, reference in ours.items():
        tested = theirs.get(name)
        if tested is not None and tested.indices != reference.indices:
            return (
                f"Of {name} {finding.pair.tested.backend} took {_format_frame_sampling(tested)}, and the reference "
                f"{_format_frame_sampling(reference)}"
            )
    return None


def _samplings(trace: Trace) -> dict[str, FrameSampling]:
    found = {f"{medium.modality} {medium.item}": medium.frame_sampling for medium in trace.media or ()}
    return {name: sampling for name, sampling in found.items() if sampling is not None}


def _format_frame_sampling(sampling: FrameSampling) -> str:
    return f"{sampling.description} at {sampling.fps:g} a second ({sampling.decoder})"
