"""Grids: a placeholder shared by images and videos, and videos in several runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

CONFIG = {"image_token_id": 9, "video_token_id": 8, "vision_config": {"spatial_merge_size": 2}}
MEDIA = st.lists(
    st.tuples(st.sampled_from(["image", "video"]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    max_size=5,
)


@pytest.mark.parametrize("name", ["qwen3_vl", "glm4v"])
@given(media=MEDIA)
def test_each_medium_has_its_own_placeholders(name: str, media: list[tuple[str, int, int, int]]) -> None:
    family = load_family(name)
    placeholders = family.get_placeholder_ids(CONFIG)
    ids: list[int] = [1]
    expected, grids = [], {"image": [], "video": []}  # type: ignore[var-annotated]
    for modality, frames, height, width in media:
        groups = frames if modality == "video" else 1
        grids[modality].append((groups, 2 * height, 2 * width))
        places: list[int] = []
        for _ in range(groups):  # each after its timestamp
            ids += [2, 3]
            places += range(len(ids), len(ids) + height * width)
            ids += [placeholders[modality]] * (height * width)  # type: ignore[index]
        expected.append((modality, len(grids[modality]) - 1, places))
        ids.append(4)
    inputs = {f"{modality}_grid_thw": np.array(grid) for modality, grid in grids.items() if grid}
    media_info = [
        MediumInfo(modality, frames)  # type: ignore[arg-type]
        for modality, frames, *_ in media
    ]
    spans = family.locate_spans(CONFIG, ids, inputs, media_info)
    assert [(span.modality, span.item, span.positions) for span in spans] == expected
