"""What can be drawn for a family: its modalities, its special tokens, the sizes at which it rounds."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.case import Modality

LOOKALIKE_TEXTS = (
    "<image>",
    "<video>",
    "<audio>",
    "<|image|>",
    "<IMAGE_TOKEN>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|im_start|>",
    "<|im_end|>\n",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "[INST]",
    "<start_of_image>",
    "<img>",
    "{{ messages }}",
    "<|im_start|>assistant\n",
)
"""What templates and engines look for in a text, in one model or another."""
PATCHES = (14, 16)
"""Sides of patches in pixels; what is rounded is a multiple of one, or of two where patches are merged."""
RATES = (2.0, 1.0, 0.5, 2.4, 3.0, 7.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 60.0, 120.0)
"""Frames a second."""
REQUEST_RATES = (2.0, 1.0, 7.0)
"""Of families whose processor is told the rate: vLLM loads it anew for each, which takes seconds."""


@dataclass(frozen=True)
class SearchSpace:
    """What can be drawn."""

    modalities: tuple[Modality, ...] = ("image",)
    special: tuple[str, ...] = LOOKALIKE_TEXTS
    """Texts that are special to the model, and that others take for special."""
    tunable: tuple[str, ...] = ()
    """See ``Family.supported_kwargs``."""
    rates: tuple[float, ...] = RATES
    """Of videos: frames a second."""
    edges: tuple[int, ...] = (*PATCHES, *(2 * side for side in PATCHES))
    """Sizes in pixels whose multiples are rounded to."""


def search_space_for(checkpoint: Checkpoint) -> SearchSpace:
    """What can be drawn for a model; of an unknown family, pictures."""
    if checkpoint.family not in FAMILIES:
        return SearchSpace()
    family = load_family(checkpoint.family)
    special = (*family.special_ids, *(text for text in LOOKALIKE_TEXTS if text not in family.special_ids))
    is_told = bool(family.get_processor_options([MediumInfo("video", 2, RATES[0])]))
    return SearchSpace(family.modalities, special, family.supported_kwargs, REQUEST_RATES if is_told else RATES)
