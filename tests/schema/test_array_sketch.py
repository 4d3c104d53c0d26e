"""Sketches: the same everywhere, small, and an honest estimate of how far two arrays are apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, DECODE, FEATURES, POSITIONS, PREFILL
from vlm_parity.schema.array_sketch import (
    DIRECTIONS,
    SKETCH_FILE,
    copy_sketch,
    draw_directions,
    estimate_rms_distance,
    read_sketch,
    sketch_arrays,
    write_sketch,
)
from vlm_parity.util.errors import SketchError


def apart(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return estimate_rms_distance(sketch_arrays({name: a}).arrays[name], sketch_arrays({name: b}).arrays[name])


def log_softmax(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    logprobs: np.ndarray = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return logprobs


def test_the_directions_are_the_same_on_every_machine() -> None:
    """A change here makes sketches of different versions incomparable: raise ``SKETCH_SCHEMA``."""
    signs = draw_directions(3)
    assert signs.astype(int).tolist() == [
        [-1, 1, -1, -1, -1, -1, 1, -1],
        [1, -1, 1, -1, -1, 1, 1, 1],
        [-1, -1, 1, 1, 1, -1, 1, 1],
    ]
    assert (
        hashlib.sha256(draw_directions(151_936).astype(np.int8).tobytes()).hexdigest()[:16]
        == "64ce0a3458b5046d"
    )


def test_directions_are_signs_without_a_bias_and_independent() -> None:
    signs = draw_directions(100_000)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    products = signs.T @ signs / len(signs)
    np.testing.assert_allclose(products, np.eye(DIRECTIONS), atol=0.015)
    assert np.abs(signs.mean(axis=0)).max() < 0.015
    np.testing.assert_array_equal(draw_directions(10), signs[:10])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-7, 1e-4, 1.0]),
    width=st.sampled_from([1000, 2048, 5000]),
    sparse=st.booleans(),
)
def test_the_estimate_is_near_the_difference(seed: int, size: float, width: int, sparse: bool) -> None:
    random = np.random.default_rng(seed)
    a = random.normal(0, 1, (64, width))
    moved = random.normal(0, size, a.shape)
    if sparse:
        moved[:, 10:] = 0
    estimate, truth = apart("vision", a, a + moved), np.sqrt(np.mean(moved**2, axis=1))
    # Over 64 rows the mean square has a relative standard deviation of sqrt(2 / 8 / 64) = 6 %.
    assert np.mean(estimate**2) / np.mean(truth**2) == pytest.approx(1, abs=0.35)
    assert (estimate > truth / 10).all()
    assert (estimate < truth * 3).all()


def test_logits_are_compared_as_log_probabilities() -> None:
    np.testing.assert_allclose(apart("prefill", PREFILL, PREFILL + 5), 0, atol=1e-6)
    assert (apart("vision", FEATURES, FEATURES + 5) > 1).all()
    moved = PREFILL.copy()
    moved[3, 7] += 1e-3
    estimate = apart("prefill", PREFILL, moved)
    truth = np.sqrt(np.mean((log_softmax(PREFILL) - log_softmax(moved)) ** 2, axis=1))
    assert np.flatnonzero(estimate).tolist() == [3]
    assert truth[3] / 10 < estimate[3] < truth[3] * 3


def test_large_logits_do_not_overflow() -> None:
    made = sketch_arrays({"prefill": PREFILL + 1e4}).arrays["prefill"]
    assert np.isfinite(made.rows).all()


def test_what_is_not_a_number_stays_none() -> None:
    ill = PREFILL.copy()
    ill[1, 3] = np.nan
    assert np.flatnonzero(np.isnan(apart("prefill", PREFILL, ill))).tolist() == [1]


def test_positions_are_kept_whole_and_nothing_else_is() -> None:
    made = sketch_arrays(ARRAYS)
    assert list(made.whole) == ["positions"]
    np.testing.assert_array_equal(made.whole["positions"], POSITIONS)
    assert list(made.arrays) == ["media.image.0.pixel_values", "vision", "prefill", "decode"]
    assert made.arrays["decode"].rows.shape == (len(DECODE), DIRECTIONS)


@pytest.mark.parametrize("shape", [(0, 5), (0, 0), (7,), (3, 2, 2), (2, 1, 1, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32])
def test_arrays_of_any_shape_and_kind_have_a_sketch(
    shape: tuple[int, ...], kind: type, tmp_path: Path
) -> None:
    array: np.ndarray = np.ones(shape, dtype=kind)
    write_sketch(tmp_path, sketch_arrays({"media.image.0.x": array}))
    kept = read_sketch(tmp_path).arrays["media.image.0.x"]
    assert kept.shape == shape
    assert len(kept.rows) == len(kept.mean_square) == (shape[0] if len(shape) > 1 else 1)


def test_a_digest_is_of_the_kind_the_shape_and_the_bytes() -> None:
    same = [FEATURES, FEATURES.copy(order="F")]
    others = [FEATURES + 1e-3, FEATURES.astype(np.float64), FEATURES.reshape(-1, 4), FEATURES[:2]]
    digests = [sketch_arrays({"x": array}).arrays["x"].digest for array in same + others]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 1 + len(others)


def test_a_sketch_survives_the_disk_and_a_copy(tmp_path: Path) -> None:
    made = sketch_arrays(ARRAYS)
    write_sketch(tmp_path / "a", made)
    copy_sketch(tmp_path / "a", tmp_path / "b" / "c")
    copy_sketch(tmp_path / "b" / "c", tmp_path / "b" / "c")
    found = read_sketch(tmp_path / "b" / "c")
    assert list(found.arrays) == sorted(made.arrays)
    for name, kept in found.arrays.items():
        assert (kept.shape, kept.digest) == (made.arrays[name].shape, made.arrays[name].digest)
        np.testing.assert_array_equal(kept.rows, made.arrays[name].rows)
        np.testing.assert_array_equal(kept.mean_square, made.arrays[name].mean_square)
    np.testing.assert_array_equal(found.whole["positions"], POSITIONS)


def test_where_none_was_kept_there_is_none(tmp_path: Path) -> None:
    copy_sketch(tmp_path, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert not read_sketch(tmp_path).arrays


@pytest.mark.parametrize("content", [b"", b"no sketch at all"])
def test_a_file_that_holds_none_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SKETCH_FILE).write_bytes(content)
    with pytest.raises(SketchError, match=r"sketch\.safetensors: not a sketch: "):
        read_sketch(tmp_path)
