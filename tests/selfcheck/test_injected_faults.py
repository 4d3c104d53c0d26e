"""One fault in traces that otherwise match: exactly the right stage differs, and its message locates it."""

from __future__ import annotations

from tests.support.traces import (
    ARRAYS,
    DECODE,
    ENCODER_BUDGET,
    FEATURES,
    IDS,
    IMAGE,
    IMAGE_PAD,
    PAD,
    PIXELS,
    POSITIONS,
    PREFILL,
    TraceFiles,
    make_trace,
)
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind


def decide_mismatch(trace_files: TraceFiles, expected: Stage) -> Verdict:
    """Return the verdict after checking that the expected stage differs and no other."""
    verdict = trace_files.decide_verdict()
    differing = [diff.stage for diff in verdict.stages if diff.status is DiffStatus.MISMATCH]
    assert (verdict.kind, verdict.first_divergence, differing) == (VerdictKind.MISMATCH, expected, [expected])
    return verdict


def test_without_a_fault_everything_matches(trace_files: TraceFiles) -> None:
    assert trace_files.decide_verdict().kind is VerdictKind.MATCH


def test_a_space_in_the_prompt(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(prompt=f"{make_trace().prompt} "))
    assert decide_mismatch(trace_files, Stage.PROMPT).reason == "prompts differ at character 41"


def test_a_wrong_token(trace_files: TraceFiles) -> None:
    ids = [PAD if token == IMAGE_PAD else token for token in IDS]
    trace_files.write(trace_files.tested, make_trace(input_ids=ids))
    verdict = decide_mismatch(trace_files, Stage.INPUT_IDS)
    assert verdict.reason == (
        "input_ids differ: 12 in the reference, 12 in vllm; first at index 3, 4 positions differ"
    )
    assert ">  3      <|image_pad|> x 4 (9)  <|endoftext|> x 4 (10)" in verdict.stage(Stage.INPUT_IDS).message
    # Features replace the embeddings of these ids, so the later stages are compared.
    assert {verdict.stage(stage).status for stage in (Stage.PREFILL, Stage.DECODE)} == {DiffStatus.MATCH}


def test_a_span_moved_by_one(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(spans=(Span.of("image", 0, range(4, 8)),)))
    verdict = decide_mismatch(trace_files, Stage.SPANS)
    assert IMAGE.offset == 3
    assert (
        ">  image 0: offset 3, 4 embedded  image 0: offset 4, 4 embedded"
        in verdict.stage(Stage.SPANS).message
    )


def test_an_encoder_budget_one_position_too_large(trace_files: TraceFiles) -> None:
    larger = ENCODER_BUDGET.model_copy(update={"tokens": ENCODER_BUDGET.tokens + 1})
    trace_files.write(trace_files.tested, make_trace(encoder_budget=larger))
    verdict = decide_mismatch(trace_files, Stage.ENCODER_BUDGET)
    assert verdict.diagnoses[0].cause == "encoder budget differs from actual length"


def test_one_pixel_by_one_gray_level(trace_files: TraceFiles) -> None:
    pixels = PIXELS.copy()
    pixels[5, 7] += 1 / 255
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "media.image.0.pixel_values": pixels})
    verdict = decide_mismatch(trace_files, Stage.MEDIA)
    assert verdict.reason == "media differ: 1 of 1"
    assert "the same  1 of 192     0.00392  5" in verdict.stage(Stage.MEDIA).message


def test_a_position_off_by_one(trace_files: TraceFiles) -> None:
    positions = POSITIONS.copy()
    positions[2, 5] += 1
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "positions": positions})
    verdict = decide_mismatch(trace_files, Stage.POSITIONS)
    assert verdict.reason == "positions differ at 1 of 12 ids, 1 of them inside the spans; first at index 5"


def test_the_features_of_one_position_by_a_thousandth(trace_files: TraceFiles) -> None:
    features = FEATURES.copy()
    features[2, 0] += 1e-3
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": features})
    verdict = decide_mismatch(trace_files, Stage.VISION)
    assert verdict.reason == "vision features differ at 1 of 4 embedded positions"
    assert ">  image 0  1 of 4" in verdict.stage(Stage.VISION).message


def test_one_row_of_prefill_logits_by_a_thousandth(trace_files: TraceFiles) -> None:
    logits = PREFILL.copy()
    logits[4, logits[4].argmax()] += 1e-3
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "prefill": logits})
    verdict = decide_mismatch(trace_files, Stage.PREFILL)
    assert verdict.reason == "prefill log-probabilities differ at 1 of 12 positions"
    assert "worst at position 4; " in verdict.stage(Stage.PREFILL).message


def test_one_row_of_decode_logits_by_a_thousandth(trace_files: TraceFiles) -> None:
    logits = DECODE.copy()
    logits[0, logits[0].argmax()] += 1e-3
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "decode": logits})
    verdict = decide_mismatch(trace_files, Stage.DECODE)
    assert verdict.reason == "decode log-probabilities differ at 1 of 2 positions"
    assert "worst at position 12; " in verdict.stage(Stage.DECODE).message


def test_the_rows_of_two_positions_exchanged(trace_files: TraceFiles) -> None:
    logits = PREFILL.copy()
    logits[[6, 7]] = logits[[7, 6]]
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "prefill": logits})
    assert decide_mismatch(trace_files, Stage.PREFILL).stage(Stage.PREFILL).metrics["over_limit"] == 2


def test_a_different_last_token(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(greedy=(8, 11, 3)))
    verdict = decide_mismatch(trace_files, Stage.GREEDY)
    assert ">  2      . (12)     What (3)" in verdict.stage(Stage.GREEDY).message
