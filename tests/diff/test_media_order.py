"""Media of the reference in another order: matched by their values, and their features compared likewise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, FLOOR, IMAGE_PAD, NOISE, RANDOM, TraceFiles, make_trace
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.trace import MediaInput, Span, Stage
from vlm_parity.schema.verdict import REORDERED_MEDIA, DiffStatus, Verdict
from vlm_parity.verdicts.conditioned import find_unjudged

IDS = (0, *[IMAGE_PAD] * 2, 1, *[IMAGE_PAD] * 2, 2, *[IMAGE_PAD] * 3)
SPANS = (
    Span.of("image", 0, [1, 2]),
    Span.of("image", 1, [4, 5]),
    Span.of("image", 2, [7, 8, 9]),
)
GRIDS = ((1, 2, 1), (1, 1, 2), (1, 1, 3))
PIXELS = [RANDOM.normal(0, 1, (4 * len(span.positions), 6)).astype(np.float32) for span in SPANS]
FEATURES = [RANDOM.normal(0, 1, (span.embedded, 8)).astype(np.float32) for span in SPANS]
SWAPPED = (1, 0, 2)


def describe(order: tuple[int, ...], **changes: Any) -> dict[str, Any]:
    media = tuple(
        MediaInput(modality="image", item=item, fields={"grid": GRIDS[source]}, arrays=("pixel_values",))
        for item, source in enumerate(order)
    )
    return {"input_ids": IDS, "spans": SPANS, "media": media, **changes}


def build_arrays(order: tuple[int, ...], features: list[np.ndarray] = FEATURES) -> dict[str, np.ndarray]:
    return {
        "positions": np.arange(len(IDS))[np.newaxis],
        "prefill": np.resize(ARRAYS["prefill"], (len(IDS), ARRAYS["prefill"].shape[1])),
        "decode": ARRAYS["decode"],
        "vision": np.concatenate([features[source] for source in order]),
        **{f"media.image.{item}.pixel_values": PIXELS[source] for item, source in enumerate(order)},
    }


def decide(
    trace_files: TraceFiles,
    order: tuple[int, ...],
    features: list[np.ndarray] = FEATURES,
    arrays: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> Verdict:
    """Return the verdict on three images of which the tested side has others at some places."""
    rows = {Stage.VISION: sum(map(len, FEATURES)), Stage.PREFILL: len(IDS), Stage.DECODE: 2}
    noise = {
        stage: StageNoise(np.full((2, count), NOISE), np.full((2, count), 3 * NOISE))
        for stage, count in rows.items()
    }
    trace_files.measured(NoiseFloor(FLOOR.record, noise))
    own = describe((0, 1, 2))
    trace_files.write(trace_files.reference, make_trace("transformers", **own), build_arrays((0, 1, 2)))
    tested = make_trace(**describe(order, **{"encoder_budget": None, **changes}))
    trace_files.write(trace_files.tested, tested, {**build_arrays(order, features), **(arrays or {})})
    return trace_files.decide_verdict()


def test_swapped_media_are_named_and_their_features_match(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, SWAPPED)
    media, vision = verdict.stage(Stage.MEDIA), verdict.stage(Stage.VISION)
    assert [diff.stage for diff in verdict.differences] == [Stage.MEDIA]
    assert verdict.reason == (
        "media differ: 2 of 3; the same media in another order: "
        "image 0 is image 1 of the reference, image 1 is image 0 of the reference"
    )
    assert media.metrics["items_reordered"] == 2
    (diagnosis, *_) = verdict.get_diagnoses(Stage.MEDIA)
    assert (diagnosis.cause, diagnosis.confidence) == ("media reordered", 1.0)
    assert (vision.status, vision.metrics[REORDERED_MEDIA]) == (DiffStatus.MATCH, 2)
    assert vision.message.startswith("compared medium by medium; the same media in another order: image 0 is")
    # What the language model gets is in another order all the same.
    assert {Stage.VISION, Stage.POSITIONS} & find_unjudged(verdict) == {Stage.VISION}
    assert not list(find_contradictions(verdict))


def test_logits_behind_swapped_media_follow(trace_files: TraceFiles) -> None:
    rows = build_arrays(SWAPPED)["prefill"] * 1.5
    verdict = decide(trace_files, SWAPPED, arrays={"prefill": rows})
    assert verdict.stage(Stage.PREFILL).consequence
    assert [diff.stage for diff in verdict.differences] == [Stage.MEDIA]


def test_a_fault_in_one_of_swapped_media_is_a_difference_of_its_own(trace_files: TraceFiles) -> None:
    scaled = [FEATURES[0], FEATURES[1] * np.float32(1.05), FEATURES[2]]
    verdict = decide(trace_files, SWAPPED, scaled)
    assert [diff.stage for diff in verdict.differences] == [Stage.MEDIA, Stage.VISION]
    found = verdict.stage(Stage.VISION)
    assert ">  image 0  2 of 2" in found.message  # image 1 of the reference
    assert "   image 1  0 of 2" in found.message
    (diagnosis, *_) = verdict.get_diagnoses(Stage.VISION)
    assert diagnosis.cause == "vision tower differs with equal pixels"
    assert diagnosis.explanation.startswith("Pixels and grids match, but for the order of the media, but")
    assert not list(find_contradictions(verdict))


def test_features_of_swapped_media_that_are_scaled_are_explained(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, SWAPPED, [each * np.float32(1.05) for each in FEATURES])
    assert verdict.get_diagnoses(Stage.VISION)[0].cause == "vision features scaled"


def test_three_media_in_a_circle_of_unlike_sizes_are_named(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, (1, 2, 0))
    assert "image 0 is image 1 of the reference, image 1 is image 2" in verdict.reason
    assert "vision features have different shapes" not in verdict.stage(Stage.VISION).message


@pytest.mark.parametrize("order", [(1, 1, 2), (0, 0, 2)], ids=["first one lost", "second one lost"])
def test_a_medium_in_place_of_another_is_no_other_order(
    trace_files: TraceFiles, order: tuple[int, ...]
) -> None:
    verdict = decide(trace_files, order)
    assert "another order" not in verdict.reason
    assert "items_reordered" not in verdict.stage(Stage.MEDIA).metrics
    assert verdict.stage(Stage.VISION).consequence


def test_media_of_which_one_has_other_values_are_in_no_other_order(trace_files: TraceFiles) -> None:
    pixels = {"media.image.0.pixel_values": PIXELS[1] + 1}
    assert "another order" not in decide(trace_files, SWAPPED, arrays=pixels).reason


def test_features_of_equal_media_are_compared_although_the_ids_differ(trace_files: TraceFiles) -> None:
    ids = (*IDS[:3], 5, *IDS[3:])
    moved = (SPANS[0], Span.of("image", 1, [5, 6]), Span.of("image", 2, [8, 9, 10]))
    positions = {"positions": np.arange(len(ids))[np.newaxis]}
    wrong = [FEATURES[0], FEATURES[1] + 1, FEATURES[2]]
    for features, status in ((FEATURES, DiffStatus.MATCH), (wrong, DiffStatus.MISMATCH)):
        verdict = decide(trace_files, (0, 1, 2), features, positions, input_ids=ids, spans=moved)
        found = verdict.stage(Stage.VISION)
        assert (found.status, found.consequence) == (status, False)
        assert REORDERED_MEDIA not in found.metrics
    assert [diff.stage for diff in verdict.differences] == [Stage.INPUT_IDS, Stage.VISION]
    assert ">  image 1  2 of 2" in found.message


def test_features_of_reordered_media_are_compared_although_the_ids_differ(trace_files: TraceFiles) -> None:
    order = (2, 1, 0)
    spans = (Span.of("image", 0, [1, 2, 3]), Span.of("image", 1, [5, 6]), Span.of("image", 2, [8, 9]))
    ids = (0, *[IMAGE_PAD] * 3, 1, *[IMAGE_PAD] * 2, 2, *[IMAGE_PAD] * 2)
    verdict = decide(trace_files, order, input_ids=ids, spans=spans)
    assert verdict.stage(Stage.MEDIA).consequence
    assert verdict.stage(Stage.VISION).status is DiffStatus.MATCH
    assert verdict.stage(Stage.VISION).metrics[REORDERED_MEDIA] == 2
