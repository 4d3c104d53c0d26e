"""Families whose processors tell of each medium how many patches it has: time, height and width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import Family, MediumInfo, TowerInput, spans_from_counts
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_ARRAYS: dict[Modality, tuple[str, str]] = {
    "image": ("pixel_values", "image_grid_thw"),
    "video": ("pixel_values_videos", "video_grid_thw"),
}
"""Patches of all media of a modality, one behind the other, and how many each has: time, height, width."""


class GridFamily(Family):
    """Grids of patches, merged by squares; one id per merged patch."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")

    def feature_counts(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[Modality, list[int]]:
        """How many embedded positions each medium takes, in order, by modality."""
        merged = config["vision_config"]["spatial_merge_size"] ** 2
        return {
            modality: [int(np.prod(grid)) // merged for grid in np.asarray(inputs[key]).tolist()]
            for modality, (_, key) in _ARRAYS.items()
            if inputs.get(key) is not None
        }

    def count_features(self, config: Mapping[str, Any], fields: Mapping[str, Sequence[float]]) -> int | None:
        merged = config.get("thinker_config", config)["vision_config"]["spatial_merge_size"] ** 2
        return int(np.prod(fields["grid"])) // merged if "grid" in fields else None

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        counts = self.feature_counts(config, inputs)
        modalities = [medium.modality for medium in media]
        return spans_from_counts(input_ids, self.placeholder_ids(config), counts, modalities)

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        found: dict[Modality, list[TowerInput]] = {}
        for modality, (pixels, grid) in _ARRAYS.items():
            if inputs.get(grid) is None:
                continue
            grids = np.asarray(inputs[grid]).reshape(-1, 3)
            # The last takes what is left over: patches that no grid counts are to be seen.
            values = np.asarray(inputs[pixels], np.float32)
            patches = np.split(values.reshape(len(values), -1), grids.prod(axis=1).cumsum()[:-1])
            found[modality] = [
                TowerInput({"grid": tuple(grids[item].tolist())}, {"pixel_values": patches[item]})
                for item in range(len(grids))
            ]
        return found


def add_seconds_per_grid(videos: Sequence[TowerInput], seconds: Any) -> list[TowerInput]:
    """The videos, each with its ``second_per_grid``.

    Args:
        videos: as ``GridFamily.tower_inputs`` finds them.
        seconds: one number a video, as an array, a tensor or a list; None where none are told.
    """
    if seconds is None:
        return list(videos)
    told = np.asarray(seconds).reshape(-1).tolist()
    return [
        replace(video, fields={**video.fields, "second_per_grid": (second,)})
        for video, second in zip(videos, told, strict=True)
    ]
