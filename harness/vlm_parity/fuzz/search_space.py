"""The search space of a family: its modalities, special tokens and the multiples to which it rounds sizes."""

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
"""Texts that templates and engines of some models search for."""
PATCHES = (14, 16)
"""Sides of patches in pixels. Sizes are rounded to multiples of one patch, or two if patches are merged."""
RATES = (2.0, 1.0, 0.5, 2.4, 3.0, 7.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 60.0, 120.0)
"""Frames per second."""
REQUEST_RATES = (2.0, 1.0, 7.0)
"""Frame rates for families with a rate among the processor kwargs: vLLM loads the processor anew for each,
which takes seconds."""


@dataclass(frozen=True)
class SearchSpace:
    """The examples that can be drawn."""

    modalities: tuple[Modality, ...] = ("image",)
    special: tuple[str, ...] = LOOKALIKE_TEXTS
    """Special tokens of the model, and of other models."""
    supported_kwargs: tuple[str, ...] = ()
    """See ``Family.supported_kwargs``."""
    rates: tuple[float, ...] = RATES
    """Frames per second of videos."""
    edges: tuple[int, ...] = (*PATCHES, *(2 * side for side in PATCHES))
    """Pixels; sides are rounded to multiples of these."""


def build_search_space(checkpoint: Checkpoint) -> SearchSpace:
    """Return the search space of a model; for an unknown family, images only."""
    if checkpoint.family not in FAMILIES:
        return SearchSpace()
    family = load_family(checkpoint.family)
    special = (*family.special_ids, *(text for text in LOOKALIKE_TEXTS if text not in family.special_ids))
    needs_rate = bool(family.get_processor_options([MediumInfo("video", 2, RATES[0])]))
    return SearchSpace(
        family.modalities, special, family.supported_kwargs, REQUEST_RATES if needs_rate else RATES
    )
