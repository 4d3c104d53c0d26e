"""What enters the vision tower, told apart medium by medium as the model's family knows it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.util.errors import PrivateApiChangedError


class TowerInputs:
    """Reads the inputs of one checkpoint's vision tower."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None

    @property
    def not_captured(self) -> dict[Stage, str]:
        """What cannot be captured because nobody knows the model, and why; empty where its family does."""
        if self._family is not None:
            return {}
        return {Stage.MEDIA: f"no family is registered for model_type {self._config.get('model_type')!r}"}

    def media(self, inputs: Mapping[str, Any], spans: Sequence[Span]) -> list[CapturedMedium]:
        """All media of a case, from what a transformers processor returned, with their spans.

        Raises:
            ValueError: no family is registered.
        """
        if self._family is None:
            raise ValueError(self.not_captured[Stage.MEDIA])
        named = {self._family.array_aliases.get(name, name): value for name, value in inputs.items()}
        return [
            CapturedMedium(modality, item, given.fields, given.arrays)
            for modality, items in self._family.split_tower_inputs(self._config, named, spans).items()
            for item, given in enumerate(items)
        ]

    def medium(
        self, modality: Modality, item: int, inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> CapturedMedium:
        """One medium, from what an engine made of it under the names that the family knows.

        Args:
            modality: of the medium.
            item: its number among those of its modality.
            inputs: arrays or tensors, by name.
            spans: all spans of the case.

        Raises:
            PrivateApiChangedError: the names are others.
            ValueError: no family is registered.
        """
        own = [span for span in spans if (span.modality, span.item) == (modality, item)]
        found = self.media(inputs, own)
        if [medium.modality for medium in found] != [modality]:
            raise PrivateApiChangedError(f"no {modality} is to be read from {', '.join(sorted(inputs))}")
        return replace(found[0], item=item)


PIXELS, MEL = "pixel_values", ("input_features", "input_audio_features")
"""How the names of the large tensors begin, in transformers and in the engines."""


def get_dtype(tensors: Mapping[str, Any]) -> str:
    """The dtype of the pixels or mel frames among an engine's tensors.

    Raises:
        PrivateApiChangedError: there are none, or of several dtypes.
    """
    found = {str(value.dtype) for name, value in tensors.items() if PIXELS in name or name.startswith(MEL)}
    if len(found) != 1:
        raise PrivateApiChangedError(
            f"no pixels or mel frames of one dtype among {', '.join(sorted(tensors))}"
        )
    return found.pop().removeprefix("torch.")


def to_numpy(tensor: Any) -> Any:
    """A tensor that numpy can read: it knows no bfloat16."""
    return tensor.float() if tensor.is_floating_point() else tensor


def sort_by_spans(
    media: Iterable[CapturedMedium], spans: tuple[Span, ...] | None
) -> tuple[CapturedMedium, ...]:
    """The media in the order of the spans; those without a span come last."""
    places = {(span.modality, span.item): place for place, span in enumerate(spans or ())}
    ordered = sorted(media, key=lambda medium: places.get((medium.modality, medium.item), len(places)))
    return tuple(ordered)
