"""Media: what enters the vision tower, medium by medium."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, TraceFiles, make_trace
from vlm_parity.diff.pixel_tolerance import BOUND_SOURCE, compute_device_bound
from vlm_parity.schema.trace import FrameSampling, MediaInput, Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

RANDOM = np.random.default_rng(20261107)
GRIDS = {("image", 0): (1, 4, 4), ("image", 1): (1, 4, 4), ("video", 0): (2, 2, 6)}
PIXELS = {
    key: RANDOM.normal(0, 1, (int(np.prod(grid)), 12)).astype(np.float32) for key, grid in GRIDS.items()
}
BIAS = 1.8


def medium(key: tuple[str, int], **changes: Any) -> MediaInput:
    modality, item = key
    fields = {"grid": GRIDS[key]} | ({"second_per_grid": (0.5,)} if modality == "video" else {})
    values = {"modality": modality, "item": item, "fields": fields, "arrays": ("pixel_values",)}
    return MediaInput.model_validate(values | changes)


class Sides:
    """Two images and a video, the same on both sides until a test changes one."""

    def __init__(self, trace_files: TraceFiles) -> None:
        self._on_disk = trace_files
        self.media = {key: medium(key) for key in GRIDS}
        self.pixels = {key: values.copy() for key, values in PIXELS.items()}
        self._write(trace_files.reference, "transformers")

    def change(self, key: tuple[str, int], **changes: Any) -> None:
        self.media[key] = medium(key, **changes)

    def _write(self, folder: Any, backend: str) -> None:
        arrays = {
            self.media[key].tensor_name("pixel_values"): values
            for key, values in self.pixels.items()
            if key in self.media
        }
        written = make_trace(backend, media=tuple(self.media.values()))
        self._on_disk.write(folder, written, {**ARRAYS, **arrays})

    def as_reference(self) -> None:
        """Apply the changes so far to the reference, too."""
        self._write(self._on_disk.reference, "transformers")

    def diff(self) -> StageDiff:
        """Compare, and check that no other stage differs."""
        self._write(self._on_disk.tested, "vllm")
        verdict = self._on_disk.decide_verdict()
        turned = {diff.stage for diff in verdict.stages if diff.status is not DiffStatus.MATCH}
        assert turned <= {Stage.MEDIA}
        return verdict.stage(Stage.MEDIA)


@pytest.fixture
def sides(trace_files: TraceFiles) -> Sides:
    return Sides(trace_files)


def marked(found: StageDiff) -> list[str]:
    """List the media whose lines are marked."""
    assert found.status is DiffStatus.MISMATCH
    lines = [line.removeprefix(">").split() for line in found.message.splitlines() if line.startswith(">")]
    return [" ".join(words[:2]) for words in lines]


def test_the_same_on_both_sides(sides: Sides) -> None:
    assert sides.diff() == StageDiff(
        stage=Stage.MEDIA,
        status=DiffStatus.MATCH,
        metrics={
            "items": 3,
            "items_different": 0,
            "values": 12 * (16 + 16 + 24),
            "different": 0,
            "over_bound": 0,
            "max_abs": 0.0,
            "bound": 0.0,
            "reference_not_finite": 0,
        },
    )


def test_one_pixel_as_a_user_sees_it(sides: Sides) -> None:
    sides.pixels["image", 1][[7, 9], 3] = PIXELS["image", 1][[7, 9], 3] + np.float32(0.5)
    assert sides.diff().message == dedent("""\
        media differ: 1 of 3
           medium   reference                                            vllm      values over  largest  patch
           image 0  grid 1x4x4, pixel_values 16x12                       the same  0 of 192     0
        >  image 1  grid 1x4x4, pixel_values 16x12                       the same  2 of 192     0.5      7
           video 0  grid 2x2x6, second_per_grid 0.5, pixel_values 24x12  the same  0 of 288     0""")


def test_the_last_bit_of_a_value_counts(sides: Sides) -> None:
    values = sides.pixels["video", 0]
    values[23, 11] = np.nextafter(values[23, 11], np.float32(9))
    found = sides.diff()
    assert marked(found) == ["video 0"]
    assert (found.metrics["over_bound"], found.metrics["items_different"]) == (1, 1)


def test_two_images_exchanged(sides: Sides) -> None:
    sides.pixels["image", 0], sides.pixels["image", 1] = PIXELS["image", 1], PIXELS["image", 0]
    assert marked(sides.diff()) == ["image 0", "image 1"]


def test_a_grid_transposed(sides: Sides) -> None:
    sides.change(("video", 0), fields={"grid": (2, 6, 2), "second_per_grid": (0.5,)})
    found = sides.diff()
    assert marked(found) == ["video 0"]
    assert "grid 2x2x6, second_per_grid 0.5, pixel_values 24x12  grid 2x6x2, second" in found.message
    assert found.metrics["different"] == 0


@pytest.mark.parametrize("given", [(0.5000001,), (1.0,), None])
def test_other_seconds(sides: Sides, given: tuple[float, ...] | None) -> None:
    seconds = {} if given is None else {"second_per_grid": given}
    sides.change(("video", 0), fields={"grid": (2, 2, 6), **seconds})
    assert marked(sides.diff()) == ["video 0"]


def test_a_medium_that_only_one_side_has(sides: Sides) -> None:
    video = sides.media.pop(("video", 0))
    found = sides.diff()
    assert marked(found) == ["video 0"]
    assert "pixel_values 24x12  -         -            -" in found.message
    sides.as_reference()
    sides.media["video", 0] = video
    found = sides.diff()
    assert marked(found) == ["video 0"]
    assert found.metrics["items"] == 3


def test_a_patch_less(sides: Sides) -> None:
    sides.pixels["image", 0] = PIXELS["image", 0][:-1]
    found = sides.diff()
    assert marked(found) == ["image 0"]
    assert "grid 1x4x4, pixel_values 15x12" in found.message


def test_an_array_that_only_one_side_has(sides: Sides) -> None:
    sides.change(("image", 0), arrays=())
    assert marked(sides.diff()) == ["image 0"]
    sides.as_reference()
    sides.change(("image", 0))
    assert marked(sides.diff()) == ["image 0"]


def test_the_order_of_the_media_is_that_of_the_spans_and_not_of_this_stage(sides: Sides) -> None:
    sides.media = dict(reversed(sides.media.items()))
    assert sides.diff().status is DiffStatus.MATCH


def test_not_a_number_is_infinitely_far_away(sides: Sides) -> None:
    sides.pixels["image", 0][3, 3] = np.nan
    found = sides.diff()
    assert marked(found) == ["image 0"]
    assert (found.metrics["max_abs"], found.metrics["over_bound"]) == (np.inf, 1)


def test_a_reference_that_is_not_a_number_is_not_trusted(sides: Sides, trace_files: TraceFiles) -> None:
    sides.pixels["image", 0][3, 3] = np.nan
    sides.as_reference()
    sides.diff()
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.INVALID
    assert "media is not finite at 1 positions" in verdict.reason


@pytest.mark.parametrize(("times", "status"), [(0.99, DiffStatus.MATCH), (1.5, DiffStatus.MISMATCH)])
def test_where_the_engine_normalizes_a_rounding_is_no_difference(
    sides: Sides, times: float, status: DiffStatus
) -> None:
    key = ("image", 0)
    largest = np.unravel_index(np.abs(PIXELS[key]).argmax(), PIXELS[key].shape)
    allowed = compute_device_bound(PIXELS[key], BIAS)[largest]
    sides.pixels[key][largest] += np.float32(times * allowed)
    assert marked(sides.diff()) == ["image 0"]
    sides.change(key, device_norm_bias=BIAS, note="normalized by itself")
    found = sides.diff()
    assert found.status is status
    assert (found.metrics["different"], found.metrics["over_bound"]) == (
        1,
        int(status is DiffStatus.MISMATCH),
    )
    assert found.metrics["bound"] == compute_device_bound(PIXELS[key], BIAS).max()
    said = ["vllm: normalized by itself", f"bound: {BOUND_SOURCE}"]
    assert found.message.splitlines()[-2:] == said
    assert (found.message.splitlines() == said) == (status is DiffStatus.MATCH)


def test_one_engine_item_that_normalizes_lends_no_room_to_another(sides: Sides) -> None:
    sides.change(("image", 0), device_norm_bias=BIAS)
    values = sides.pixels["image", 1]
    values[0, 0] = np.nextafter(values[0, 0], np.float32(9))
    assert marked(sides.diff()) == ["image 1"]


def test_rounding_to_the_models_dtype_is_no_difference(sides: Sides) -> None:
    key = ("image", 0)
    sides.pixels[key] = PIXELS[key].astype(np.float16).astype(np.float32)
    assert marked(sides.diff()) == ["image 0"]
    sides.change(key, dtype="float16")
    assert sides.diff().status is DiffStatus.MATCH
    sides.pixels[key][2, 2] = np.nextafter(np.float16(sides.pixels[key][2, 2]), np.float16(9))
    assert marked(sides.diff()) == ["image 0"]


def test_a_side_without_arrays_is_not_compared(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(outcome=Outcome.ERROR))
    (trace_files.tested / "tensors.safetensors").unlink()
    found = trace_files.decide_verdict().stage(Stage.MEDIA)
    assert (found.status, found.message) == (DiffStatus.NOT_COMPARED, "vllm: error")


def test_frames_taken_of_a_file_are_reported_and_not_compared(sides: Sides) -> None:
    taken = FrameSampling(decoder="opencv", total=48, fps=24, indices=(0, 12))
    sides.change(("video", 0), frame_sampling=taken)
    found = sides.diff()
    assert found.status is DiffStatus.MATCH
    words = "video 0, decoded by opencv: frames 0, 12 of 48, 24 per second, starting at 0, 0.5 s"
    assert found.message == f"vllm: {words}"
