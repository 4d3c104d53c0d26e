"""Families that make every picture the same size: always as many positions, nothing to tell them apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.synthetic.synthetic_family import SyntheticFamily
from vlm_parity.models.synthetic.tower_weight_names import rename_tower_weights
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span


class FixedSizeFamily(SyntheticFamily):
    """Pictures only, through a CLIP or SigLIP tower."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    @abstractmethod
    def features(self, config: Mapping[str, Any]) -> int:
        """How many embedded positions a picture takes."""

    def finish(self, folder: Path) -> None:
        rename_tower_weights(folder)

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"]}

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        return self.features(config)

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        counts: dict[Modality, list[int]] = {"image": [self.features(config)] * len(media)}
        return spans_from_counts(
            input_ids, self.placeholder_ids(config), counts, [each.modality for each in media]
        )

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """One picture a medium; an engine's single one may come without the axis of the media."""
        if inputs.get("pixel_values") is None:
            return {}
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        pictures = pixels.reshape(-1, *pixels.shape[-3:])
        return {"image": [TowerInput({}, {"pixel_values": picture}) for picture in pictures]}
