"""Vision and audio tower inputs, split by medium with the help of the model's family."""

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
    """A reader of the tower inputs of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read the configuration.

        Args:
            checkpoint: its folder holds ``config.json``.
        """
        self._config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None

    @property
    def not_captured(self) -> dict[Stage, str]:
        """The stages that need a registered family, with the reason; empty if there is one."""
        if self._family is not None:
            return {}
        return {Stage.MEDIA: f"no family is registered for model_type {self._config.get('model_type')!r}"}

    def media(self, inputs: Mapping[str, Any], spans: Sequence[Span]) -> list[CapturedMedium]:
        """Return all media of a case.

        Args:
            inputs: arrays or tensors by name, as returned by a transformers processor.
            spans: all spans of the case.

        Raises:
            ValueError: no family is registered.
        """
        if self._family is None:
            raise ValueError(self.not_captured[Stage.MEDIA])
        named = {self._family.array_aliases.get(name, name): value for name, value in inputs.items()}
        return [
            CapturedMedium(modality, item, tower_input.fields, tower_input.arrays)
            for modality, items in self._family.split_tower_inputs(self._config, named, spans).items()
            for item, tower_input in enumerate(items)
        ]

    def medium(
        self, modality: Modality, item: int, inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> CapturedMedium:
        """Return one medium from the tensors that an engine made of it.

        Args:
            modality: of the medium.
            item: its index among the media of its modality, from 0.
            inputs: arrays or tensors, by names that the family knows.
            spans: all spans of the case.

        Raises:
            PrivateApiChangedError: the names are unknown.
            ValueError: no family is registered.
        """
        own = [span for span in spans if (span.modality, span.item) == (modality, item)]
        media = self.media(inputs, own)
        if [medium.modality for medium in media] != [modality]:
            raise PrivateApiChangedError(f"cannot read one {modality} from {', '.join(sorted(inputs))}")
        return replace(media[0], item=item)


PIXELS, MEL = "pixel_values", ("input_features", "input_audio_features")
"""Prefixes of the names of pixel and mel tensors, in transformers and in the engines."""


def get_dtype(tensors: Mapping[str, Any]) -> str:
    """Return the dtype of the pixels or mel frames among an engine's tensors, such as ``bfloat16``.

    Raises:
        PrivateApiChangedError: there are none, or they have several dtypes.
    """
    dtypes = {str(value.dtype) for name, value in tensors.items() if PIXELS in name or name.startswith(MEL)}
    if len(dtypes) != 1:
        raise PrivateApiChangedError(
            f"no pixels or mel frames of one dtype among {', '.join(sorted(tensors))}"
        )
    return dtypes.pop().removeprefix("torch.")


def to_numpy_readable(tensor: Any) -> Any:
    """Return a tensor in a dtype that numpy has: float32 in place of bfloat16."""
    return tensor.float() if tensor.is_floating_point() else tensor


def sort_by_spans(
    media: Iterable[CapturedMedium], spans: tuple[Span, ...] | None
) -> tuple[CapturedMedium, ...]:
    """Return the media in the order of the spans; those without a span come last."""
    ranks = {(span.modality, span.item): rank for rank, span in enumerate(spans or ())}
    return tuple(sorted(media, key=lambda medium: ranks.get((medium.modality, medium.item), len(ranks))))
