"""Families that resize every image to one size, so that each takes the same number of positions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import MediumInfo, TowerInput, assign_spans, build_image_inputs
from vlm_parity.models.families.synthetic_base import SyntheticFamily
from vlm_parity.models.synthetic.tower_weight_names import rename_tower_weights
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span


class FixedSizeFamily(SyntheticFamily):
    """A family with images only, through a CLIP or SigLIP tower."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    @abstractmethod
    def count_image_positions(self, config: Mapping[str, Any]) -> int:
        """Return the number of embedded positions of an image."""

    def finish_checkpoint(self, folder: Path) -> None:
        rename_tower_weights(folder)

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_index"]}

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        return self.count_image_positions(config)

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        counts: dict[Modality, list[int]] = {"image": [self.count_image_positions(config)] * len(media)}
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        return build_image_inputs(inputs)
