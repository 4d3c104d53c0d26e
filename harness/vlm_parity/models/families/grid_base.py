"""Families whose processors return the patch grid of each medium: time, height and width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import Family, MediumInfo, TowerInput, assign_spans
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "image_grid_thw"),
    "video": ("pixel_values_videos", "video_grid_thw"),
}
"""Names of the concatenated patches of all media of a modality, and of their grids: time, height, width."""


class GridFamily(Family):
    """A family with grids of patches, which are merged in squares; one id per merged patch."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")

    def count_features_by_modality(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[int]]:
        """Return the number of embedded positions of each medium, in order, by modality."""
        merged_patches = config["vision_config"]["spatial_merge_size"] ** 2
        return {
            modality: [int(np.prod(grid)) // merged_patches for grid in np.asarray(inputs[key]).tolist()]
            for modality, (_, key) in _ARRAYS.items()
            if inputs.get(key) is not None
        }

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        merged_patches = config.get("thinker_config", config)["vision_config"]["spatial_merge_size"] ** 2
        return int(np.prod(fields["grid"])) // merged_patches if "grid" in fields else None

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        counts = self.count_features_by_modality(config, inputs)
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        media: dict[Modality, list[TowerInput]] = {}
        for modality, (pixels, grid) in _ARRAYS.items():
            if inputs.get(grid) is None:
                continue
            grids = np.asarray(inputs[grid]).reshape(-1, 3)
            # The last medium gets the remaining patches: those that no grid counts have to show.
            values = np.asarray(inputs[pixels], np.float32)
            patches = np.split(values.reshape(len(values), -1), grids.prod(axis=1).cumsum()[:-1])
            media[modality] = [
                TowerInput({"grid": tuple(grids[item].tolist())}, {"pixel_values": patches[item]})
                for item in range(len(grids))
            ]
        return media


def add_seconds_per_grid(videos: Sequence[TowerInput], seconds: Any) -> list[TowerInput]:
    """Add the field ``second_per_grid`` to each video.

    Args:
        videos: the videos of ``GridFamily.split_tower_inputs``.
        seconds: one number per video, as an array, a tensor or a list; None adds nothing.
    """
    if seconds is None:
        return list(videos)
    return [
        replace(video, fields={**video.fields, "second_per_grid": (second,)})
        for video, second in zip(videos, np.asarray(seconds).reshape(-1).tolist(), strict=True)
    ]
