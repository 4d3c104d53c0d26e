"""vLLM's real engine on the CPU, compared with the reference on a synthetic checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    MAX_DISTANCE,
    OTHER_IMAGE_PART,
    TEXT_PART,
    VIDEO_PART,
    VOCABULARY,
    compute_max_distance,
    get_logits,
    join_pixel_values,
    make_request,
    record_tower_inputs,
)

pytest.importorskip("vllm")

from vlm_parity.backends.base import Inputs, Outputs, Request, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.capture_extension import Recorder
from vlm_parity.models.build import build_checkpoint
from vlm_parity.util.errors import EngineError, HookError, PrivateApiChangedError
from vlm_parity.util.numeric import compute_log_softmax

LARGE_IMAGE = {"image": {"pattern": "checkerboard", "size": [560, 448]}}


REQUESTS = {
    "text": make_request(TEXT_PART),
    "image": make_request(IMAGE_PART, TEXT_PART),
    "images": make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, TEXT_PART),
    "video": make_request(VIDEO_PART, TEXT_PART),
}
IMAGE = REQUESTS["image"]

for_each_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def run(engine: VllmBackend, request: Request) -> tuple[Inputs, Outputs]:
    inputs = engine.inputs(request)
    return inputs, engine.outputs(inputs, CONTINUATION, 6)


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmBackend]:
    arguments = {"enable_prefix_caching": True, "max_logprobs": -1}
    backend = VllmBackend(Settings(max_length=1024, engine_args=arguments))
    backend.load(build_checkpoint("qwen2_vl"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen2_vl"))
    yield backend
    backend.close()


@for_each_request
def test_inputs_are_those_of_the_reference(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    tested, expected = engine.inputs(request_), reference.inputs(request_)
    assert tested.prompt == expected.prompt
    assert tested.input_ids == expected.input_ids
    assert tested.spans == expected.spans


def test_every_position_and_every_new_token_but_the_last_has_a_row(engine: VllmBackend) -> None:
    inputs, outputs = run(engine, IMAGE)
    prefill, decode = get_logits(outputs.prefill), get_logits(outputs.decode)
    assert prefill.shape == (len(inputs.input_ids), VOCABULARY)
    assert decode.shape == (4, VOCABULARY)
    assert prefill.dtype == decode.dtype == np.float32
    assert np.isfinite(prefill).all()
    assert np.isfinite(decode).all()
    assert outputs.continuation == CONTINUATION
    assert len(outputs.greedy) == 6


@for_each_request
def test_outputs_along_an_unlikely_continuation_are_those_of_the_reference(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    _, tested = run(engine, request_)
    expected = reference.outputs(reference.inputs(request_), CONTINUATION, 6)
    assert tested.greedy == expected.greedy
    assert tested.greedy[:5] != CONTINUATION
    assert compute_max_distance(tested.prefill, expected.prefill) < MAX_DISTANCE
    assert compute_max_distance(tested.decode, expected.decode) < MAX_DISTANCE


@for_each_request
def test_positions_and_embeddings_are_those_of_the_reference(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    inputs = reference.inputs(request_)
    expected = reference.outputs(inputs, CONTINUATION, 1)
    _, tested = run(engine, request_)
    assert tested.positions is not None
    assert inputs.positions is not None
    np.testing.assert_array_equal(tested.positions, inputs.positions)
    assert tested.embeddings is not None
    assert expected.embeddings is not None
    scale = float(np.sqrt(np.square(expected.embeddings).mean()))
    np.testing.assert_allclose(tested.embeddings, expected.embeddings, atol=scale * MAX_DISTANCE)


@pytest.mark.parametrize("name", ["images", "video"])
def test_captured_media_are_the_inputs_of_the_tower(engine: VllmBackend, name: str) -> None:
    inputs = engine.inputs(REQUESTS[name])
    (tower,) = engine._engine.apply_model(lambda model: model.visual)
    with record_tower_inputs(tower) as tower_inputs:
        engine.outputs(inputs, CONTINUATION, 1)
    np.testing.assert_array_equal(
        np.concatenate(tower_inputs), join_pixel_values(inputs.media, name.removesuffix("s"))
    )


def test_rows_follow_the_continuation(engine: VllmBackend) -> None:
    inputs = engine.inputs(IMAGE)
    first, second = (
        get_logits(engine.outputs(inputs, tokens, 1).decode) for tokens in ((11, 7, 5), (11, 9, 5))
    )
    np.testing.assert_array_equal(first[0], second[0])
    assert compute_max_distance(first[1:], second[1:]) > 0.01


def test_greedy_tokens_are_the_most_likely_ones(engine: VllmBackend) -> None:
    inputs = engine.inputs(IMAGE)
    greedy = engine.outputs(inputs, CONTINUATION, 6).greedy
    outputs = engine.outputs(inputs, greedy, 6)
    rows = np.concatenate([get_logits(outputs.prefill)[-1:], get_logits(outputs.decode)])
    assert tuple(rows.argmax(-1).tolist()) == outputs.greedy == greedy


def test_no_row_comes_from_the_prefix_cache(engine: VllmBackend) -> None:
    request = make_request(LARGE_IMAGE, TEXT_PART)
    inputs, first = run(engine, request)
    _, second = run(engine, request)
    assert _count_cached_tokens(engine, inputs) > 0, "nothing was cached: the test would prove nothing"
    assert get_logits(second.prefill).shape == (len(inputs.input_ids), VOCABULARY)
    np.testing.assert_array_equal(get_logits(second.prefill), get_logits(first.prefill))
    np.testing.assert_array_equal(get_logits(second.decode), get_logits(first.decode))


def _count_cached_tokens(engine: VllmBackend, inputs: Inputs) -> int:
    """Return the number of positions that vLLM reads from the cache by default."""
    from vllm import SamplingParams

    core = engine._engine.llm_engine
    core.add_request("plain", inputs.prepared, SamplingParams(max_tokens=1))
    outputs = []
    while core.has_unfinished_requests():
        outputs += core.step()
    return int(outputs[-1].num_cached_tokens)


@pytest.mark.parametrize("missed", range(len(CONTINUATION)))
def test_a_step_that_was_not_recorded_is_an_error(
    engine: VllmBackend, monkeypatch: pytest.MonkeyPatch, missed: int
) -> None:
    steps = iter(range(len(CONTINUATION)))
    record = Recorder.record
    monkeypatch.setattr(Recorder, "record", lambda self: None if next(steps) == missed else record(self))
    with pytest.raises(
        (EngineError, HookError), match=r"starts at position \d+, not at|cached, but vLLM's worker ran"
    ):
        run(engine, IMAGE)


def test_the_engine_survives_a_failed_capture(engine: VllmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Recorder) -> None:
        raise ZeroDivisionError

    _, before = run(engine, IMAGE)
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "record", fail)
        with pytest.raises(EngineError, match="ZeroDivisionError"):
            run(engine, IMAGE)
    _, after = run(engine, IMAGE)
    np.testing.assert_array_equal(get_logits(after.prefill), get_logits(before.prefill))


@pytest.mark.parametrize("name", ["logits", "hidden_states"])
def test_an_error_names_a_missing_private_name(name: str) -> None:
    state = SimpleNamespace(logits=None, hidden_states=None)
    delattr(state, name)
    with pytest.raises(PrivateApiChangedError, match=rf"SimpleNamespace\.execute_model_state has no {name}$"):
        Recorder(SimpleNamespace(execute_model_state=state), "one", 1, 1).record()


def test_an_error_names_a_missing_state() -> None:
    with pytest.raises(PrivateApiChangedError, match=r"execute_model_state has no logits, hidden_states$"):
        Recorder(SimpleNamespace(), "one", 1, 1).record()


def test_an_error_names_missing_attributes_of_the_model_runner() -> None:
    state = SimpleNamespace(logits=None, hidden_states=None)
    runner = SimpleNamespace(execute_model_state=state, input_batch=None, input_ids=None)
    with pytest.raises(
        PrivateApiChangedError, match=r"SimpleNamespace has no query_start_loc, supports_mm_inputs$"
    ):
        Recorder(runner, "one", 1, 1).record()


def test_a_continuation_is_required(engine: VllmBackend) -> None:
    with pytest.raises(ValueError, match="reference"):
        engine.outputs(engine.inputs(IMAGE), None, 1)


def test_recorded_rows_are_those_of_vllms_own_prompt_logprobs(engine: VllmBackend) -> None:
    """This check does not depend on the capture extension; it takes about 0.15 s per position."""
    inputs, outputs = run(engine, REQUESTS["text"])
    expected = _compute_prompt_logprobs(engine, inputs.input_ids)
    assert expected.shape == (len(inputs.input_ids) - 1, VOCABULARY)
    captured = np.stack([compute_log_softmax(row) for row in get_logits(outputs.prefill)[:-1]])
    assert np.abs(captured - expected).max() < MAX_DISTANCE


def _compute_prompt_logprobs(engine: VllmBackend, ids: tuple[int, ...]) -> np.ndarray:
    """Return float64 [positions - 1, vocabulary]; vLLM lists the row of a position with the id after it."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, prompt_logprobs=-1, flat_logprobs=True, detokenize=False)
    (output,) = engine._engine.generate({"prompt_token_ids": list(ids)}, params, use_tqdm=False)
    logprobs = output.prompt_logprobs
    rows = np.full((len(ids) - 1, VOCABULARY), np.nan)
    for row, start, stop in zip(rows, logprobs.start_indices[1:], logprobs.end_indices[1:], strict=True):
        row[logprobs.token_ids[start:stop]] = logprobs.logprobs[start:stop]
    return rows
