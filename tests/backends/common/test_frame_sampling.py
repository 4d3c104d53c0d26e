"""Frame sampling from the metadata of a loader."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_parity.backends.base import CapturedMedium
from vlm_parity.backends.common.frame_sampling import add_frame_sampling, read_frame_sampling
from vlm_parity.schema.trace import FrameSampling
from vlm_parity.util.errors import PrivateApiChangedError

METADATA = {"total_num_frames": 48, "fps": 24, "frames_indices": np.array([0, 24]), "video_backend": "pyav"}
FRAME_SAMPLING = FrameSampling(decoder="pyav", total=48, fps=24.0, indices=(0, 24))


def test_metadata_become_a_record() -> None:
    assert read_frame_sampling({**METADATA, "duration": 2.0}) == FRAME_SAMPLING
    assert (FRAME_SAMPLING.description, FRAME_SAMPLING.timestamps) == ("frames 0, 24 of 48", (0.0, 1.0))


def test_all_frames_are_not_listed() -> None:
    unsampled = FrameSampling(decoder="pyav", total=3, fps=0, indices=(0, 1, 2))
    assert (unsampled.description, unsampled.timestamps) == ("all of 3 frames", ())


@pytest.mark.parametrize("name", METADATA)
def test_an_error_names_missing_metadata(name: str) -> None:
    for metadata in ({**METADATA, name: None}, {key: METADATA[key] for key in METADATA if key != name}):
        with pytest.raises(PrivateApiChangedError, match=f"metadata lack {name}"):
            read_frame_sampling(metadata)


def test_each_video_gets_its_own_frame_sampling() -> None:
    other = FRAME_SAMPLING.model_copy(update={"indices": (1,)})
    media = (  # in the order of the spans
        CapturedMedium("video", 1, {}, {}),
        CapturedMedium("image", 0, {}, {}),
        CapturedMedium("video", 0, {}, {}),
    )
    sampled = add_frame_sampling(media, [FRAME_SAMPLING, other])
    assert sampled is not None
    assert [medium.frame_sampling for medium in sampled] == [other, None, FRAME_SAMPLING]
    assert add_frame_sampling(media, []) == media
    assert add_frame_sampling(None, [FRAME_SAMPLING]) is None
