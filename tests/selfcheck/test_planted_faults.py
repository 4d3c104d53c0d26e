"""One fault, planted in traces that agree: exactly the right stage turns, and its message says where."""

from __future__ import annotations

from tests.support.traces import (
    ARRAYS,
    DECODE,
    FEATURES,
    IDS,
    IMAGE,
    IMAGE_PAD,
    PAD,
    PIXELS,
    POSITIONS,
    PREFILL,
    RESERVED,
    OnDisk,
    trace,
)
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.verdict import Status, Verdict, VerdictKind


def verdict_on(on_disk: OnDisk, expected: Stage) -> Verdict:
    """The verdict, which must be about one stage and no other."""
    verdict = on_disk.judge()
    turned = [diff.stage for diff in verdict.stages if diff.status is Status.MISMATCH]
    assert (verdict.kind, verdict.first_divergence, turned) == (VerdictKind.MISMATCH, expected, [expected])
    return verdict


def test_without_a_fault_everything_matches(on_disk: OnDisk) -> None:
    assert on_disk.judge().kind is VerdictKind.MATCH


def test_a_space_in_the_prompt(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(prompt=trace().prompt + " "))
    assert verdict_on(on_disk, Stage.PROMPT).reason == "prompts differ at character 41"


def test_a_wrong_token(on_disk: OnDisk) -> None:
    ids = [PAD if token == IMAGE_PAD else token for token in IDS]
    on_disk.write(on_disk.tested, trace(input_ids=ids))
    verdict = verdict_on(on_disk, Stage.INPUT_IDS)
    assert verdict.reason == (
        "input_ids differ: 12 in the reference, 12 in vllm; first at index 3, 4 positions differ"
    )
    assert ">  3      <|image_pad|> x 4 (9)  <|endoftext|> x 4 (10)" in verdict.stage(Stage.INPUT_IDS).message
    # The features take the place of these ids: all that follows is compared.
    assert {verdict.stage(stage).status for stage in (Stage.PREFILL, Stage.DECODE)} == {Status.MATCH}


def test_a_span_moved_by_one(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(spans=(Span.of("image", 0, range(4, 8)),)))
    verdict = verdict_on(on_disk, Stage.SPANS)
    assert IMAGE.offset == 3
    assert (
        ">  image 0: offset 3, 4 embedded  image 0: offset 4, 4 embedded"
        in verdict.stage(Stage.SPANS).message
    )


def test_one_position_too_many_reserved(on_disk: OnDisk) -> None:
    much = RESERVED.model_copy(update={"tokens": RESERVED.tokens + 1})
    on_disk.write(on_disk.tested, trace(reserved=much))
    verdict = verdict_on(on_disk, Stage.RESERVED)
    assert verdict.diagnoses[0].cause == "encoder budget differs from actual length"


def test_a_pixel_by_a_grey_level(on_disk: OnDisk) -> None:
    pixels = PIXELS.copy()
    pixels[5, 7] += 1 / 255
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "media.image.0.pixel_values": pixels})
    verdict = verdict_on(on_disk, Stage.MEDIA)
    assert verdict.reason == "media differ: 1 of 1"
    assert "the same  1 of 192     0.00392  5" in verdict.stage(Stage.MEDIA).message


def test_a_position_off_by_one(on_disk: OnDisk) -> None:
    positions = POSITIONS.copy()
    positions[2, 5] += 1
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "positions": positions})
    verdict = verdict_on(on_disk, Stage.POSITIONS)
    assert verdict.reason == "positions differ at 1 of 12 ids, 1 of them inside the spans; first at index 5"


def test_the_features_of_one_position_by_a_thousandth(on_disk: OnDisk) -> None:
    features = FEATURES.copy()
    features[2, 0] += 1e-3
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "vision": features})
    verdict = verdict_on(on_disk, Stage.VISION)
    assert verdict.reason == "vision features differ at 1 of 4 embedded positions"
    assert ">  image 0  1 of 4" in verdict.stage(Stage.VISION).message


def test_one_row_of_prefill_logits_by_a_thousandth(on_disk: OnDisk) -> None:
    logits = PREFILL.copy()
    logits[4, logits[4].argmax()] += 1e-3
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "prefill": logits})
    verdict = verdict_on(on_disk, Stage.PREFILL)
    assert verdict.reason == "prefill log-probabilities differ at 1 of 12 positions"
    assert "worst at position 4; " in verdict.stage(Stage.PREFILL).message


def test_one_row_of_decode_logits_by_a_thousandth(on_disk: OnDisk) -> None:
    logits = DECODE.copy()
    logits[0, logits[0].argmax()] += 1e-3
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "decode": logits})
    verdict = verdict_on(on_disk, Stage.DECODE)
    assert verdict.reason == "decode log-probabilities differ at 1 of 2 positions"
    assert "worst at position 12; " in verdict.stage(Stage.DECODE).message


def test_the_rows_of_two_positions_exchanged(on_disk: OnDisk) -> None:
    logits = PREFILL.copy()
    logits[[6, 7]] = logits[[7, 6]]
    on_disk.write(on_disk.tested, trace(), {**ARRAYS, "prefill": logits})
    assert verdict_on(on_disk, Stage.PREFILL).stage(Stage.PREFILL).metrics["over_limit"] == 2


def test_a_last_token_that_is_not_the_same(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(greedy=(8, 11, 3)))
    verdict = verdict_on(on_disk, Stage.GREEDY)
    assert ">  2      . (12)     What (3)" in verdict.stage(Stage.GREEDY).message
