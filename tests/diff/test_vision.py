"""Vision: the media's features as they are merged into the sequence."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest
from made import ARRAYS, OnDisk, trace

from harness.judge.bound import vision_bound
from harness.trace import Stage
from harness.verdict import StageDiff, Status, VerdictKind

BOUND = vision_bound("float32")
FEATURES = ARRAYS["vision"]
SCALE = float(np.sqrt(np.mean(FEATURES.astype(np.float64) ** 2)))


def diff(on_disk: OnDisk, tested: np.ndarray) -> StageDiff:
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "vision": tested})
    return on_disk.judge().stage(Stage.VISION)


def test_one_position_of_the_picture_as_a_user_sees_it(on_disk: OnDisk) -> None:
    other = FEATURES.copy()
    other[2, 0] += np.float32(0.5 * SCALE)
    assert diff(on_disk, other).message == dedent(f"""\
        vision features differ at 1 of 4 embedded positions
        largest difference 0.5 of the features' root mean square (bound {BOUND.max_abs:.3g}: {BOUND.source})
           medium   positions over  largest
        >  image 0  1 of 4          0.5""")


@pytest.mark.parametrize(("times", "status"), [(0.5, Status.MATCH), (2, Status.MISMATCH)])
def test_the_bound_is_relative_to_the_features(on_disk: OnDisk, times: float, status: Status) -> None:
    other = FEATURES.copy()
    other[0, 1] += np.float32(times * BOUND.max_abs * SCALE)
    assert diff(on_disk, other).status is status


def test_other_shapes(on_disk: OnDisk) -> None:
    assert diff(on_disk, FEATURES[:, :-1]).status is Status.MISMATCH


def test_a_reference_that_is_not_a_number_is_not_trusted(on_disk: OnDisk) -> None:
    sick = FEATURES.copy()
    sick[1] = np.nan
    on_disk.write(on_disk.reference, trace("transformers"), {**ARRAYS, "vision": sick})
    verdict = on_disk.judge()
    assert verdict.kind is VerdictKind.INVALID
    assert "vision is not a number at 1 positions" in verdict.reason
