"""Which frames a side took, of what its loader says."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.frame_sampling import add_frame_sampling, read_frame_sampling
from vlm_parity.schema.trace import FrameSampling
from vlm_parity.util.errors import PrivateApiChangedError

METADATA = {"total_num_frames": 48, "fps": 24, "frames_indices": np.array([0, 24]), "video_backend": "pyav"}
FOUND = FrameSampling(decoder="pyav", total=48, fps=24.0, indices=(0, 24))


def test_metadata_become_a_record() -> None:
    assert read_frame_sampling({**METADATA, "duration": 2.0}) == FOUND
    assert (FOUND.description, FOUND.timestamps) == ("frames 0, 24 of 48", (0.0, 1.0))


def test_all_frames_are_not_counted_up() -> None:
    whole = FrameSampling(decoder="pyav", total=3, fps=0, indices=(0, 1, 2))
    assert (whole.description, whole.timestamps) == ("all of 3 frames", ())


@pytest.mark.parametrize("name", METADATA)
def test_a_missing_name_is_named(name: str) -> None:
    for metadata in ({**METADATA, name: None}, {key: METADATA[key] for key in METADATA if key != name}):
        with pytest.raises(PrivateApiChangedError, match=f"metadata lack {name}"):
            read_frame_sampling(metadata)


def test_each_video_gets_its_own() -> None:
    other = FOUND.model_copy(update={"indices": (1,)})
    media = tuple(
        CapturedMedium(modality, item, {}, {})
        for modality, item in (("video", 1), ("image", 0), ("video", 0))  # in the order of the spans
    )
    found = add_frame_sampling(media, [FOUND, other])
    assert found is not None
    assert [medium.frame_sampling for medium in found] == [other, None, FOUND]
    assert add_frame_sampling(media, []) == media
    assert add_frame_sampling(None, [FOUND]) is None
