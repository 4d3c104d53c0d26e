"""InternVL: tiles of images and frames, in the order of the prompt."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

FAMILY = load_family("internvl")
CONFIG = {"image_token_id": 9, "image_seq_length": 2}
MEDIA = st.lists(st.tuples(st.sampled_from(["image", "video"]), st.integers(1, 4)), max_size=5)
"""Modality, and the number of tiles or frames."""


@given(media=MEDIA)
def test_media_have_their_tiles_and_frames(media: list[tuple[str, int]]) -> None:
    ids: list[int] = [1]
    expected = []
    for modality, count in media:
        start = len(ids)
        pieces = [[9] * 2 * count] if modality == "image" else [[9] * 2] * count
        for piece in pieces:
            ids += [2, *piece, 3]
        expected.append([place for place in range(start, len(ids)) if ids[place] == 9])
    media_info = [MediumInfo(modality, count if modality == "video" else 1) for modality, count in media]  # type: ignore[arg-type]
    spans = FAMILY.locate_spans(CONFIG, ids, {}, media_info)
    assert [span.positions for span in spans] == expected
    assert [span.modality for span in spans] == [modality for modality, _ in media]

    total = sum(count for _, count in media)
    tiles = np.arange(total * 3, dtype=np.float32).reshape(total, 3)
    split = FAMILY.split_tower_inputs(CONFIG, {"pixel_values": tiles} if media else {}, spans)
    items = [split[span.modality][span.item] for span in spans]
    assert [item.fields["tiles"] for item in items] == [(float(count),) for _, count in media]
    if media:
        joined = np.concatenate([item.arrays["pixel_values"] for item in items])
        np.testing.assert_array_equal(joined, tiles)
