"""vLLM's real engine on the CPU, with a synthetic checkpoint, beside the reference in one process."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.requests import (
    VIDEO_PART,
    MAX_DISTANCE,
    CONTINUATION,
    OTHER_IMAGE_PART,
    IMAGE_PART,
    TEXT_PART,
    VOCABULARY,
    join_pixel_values,
    compute_max_distance,
    make_request,
    record_tower_inputs,
)

pytest.importorskip("vllm")

from vlm_parity.backends.base import Inputs, Outputs, Request, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.capture_extension import Recorder
from vlm_parity.models.build import build_checkpoint
from vlm_parity.util.errors import PrivateApiChangedError
from vlm_parity.util.numeric import compute_log_softmax

LARGE_IMAGE = {"image": {"pattern": "checkerboard", "size": [560, 448]}}


REQUESTS = {
    "text": make_request(TEXT_PART),
    "image": make_request(IMAGE_PART, TEXT_PART),
    "images": make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, TEXT_PART),
    "video": make_request(VIDEO_PART, TEXT_PART),
}
"""A request a kind of medium."""
IMAGE = REQUESTS["image"]

for_each_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def ask(engine: VllmBackend, request: Request) -> tuple[Inputs, Outputs]:
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
def test_it_is_fed_what_the_reference_is_fed(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    ours, theirs = engine.inputs(request_), reference.inputs(request_)
    assert ours.prompt == theirs.prompt
    assert ours.input_ids == theirs.input_ids
    assert ours.spans == theirs.spans


def test_every_position_and_every_new_token_but_the_last_has_a_row(engine: VllmBackend) -> None:
    inputs, outputs = ask(engine, IMAGE)
    assert outputs.prefill.shape == (len(inputs.input_ids), VOCABULARY)
    assert outputs.decode.shape == (4, VOCABULARY)
    assert outputs.prefill.dtype == outputs.decode.dtype == np.float32
    assert np.isfinite(outputs.prefill).all()
    assert np.isfinite(outputs.decode).all()
    assert outputs.continuation == CONTINUATION
    assert len(outputs.greedy) == 6


@for_each_request
def test_it_answers_as_the_reference_along_tokens_that_neither_would_choose(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    _, ours = ask(engine, request_)
    theirs = reference.outputs(reference.inputs(request_), CONTINUATION, 6)
    assert ours.greedy == theirs.greedy
    assert ours.greedy[:5] != CONTINUATION
    assert compute_max_distance(ours.prefill, theirs.prefill) < MAX_DISTANCE
    assert compute_max_distance(ours.decode, theirs.decode) < MAX_DISTANCE


@for_each_request
def test_it_runs_on_the_positions_and_features_of_the_reference(
    engine: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    inputs = reference.inputs(request_)
    theirs = reference.outputs(inputs, CONTINUATION, 1)
    _, ours = ask(engine, request_)
    np.testing.assert_array_equal(ours.positions, inputs.positions)
    assert ours.embeddings is not None
    assert theirs.embeddings is not None
    scale = float(np.sqrt(np.square(theirs.embeddings).mean()))
    np.testing.assert_allclose(ours.embeddings, theirs.embeddings, atol=scale * MAX_DISTANCE)


@pytest.mark.parametrize("name", ["images", "video"])
def test_what_is_recorded_enters_the_tower(engine: VllmBackend, name: str) -> None:
    inputs = engine.inputs(REQUESTS[name])
    (tower,) = engine._engine.apply_model(lambda model: model.visual)
    with record_tower_inputs(tower) as seen:
        engine.outputs(inputs, CONTINUATION, 1)
    np.testing.assert_array_equal(
        np.concatenate(seen), join_pixel_values(inputs.media, name.removesuffix("s"))
    )


def test_rows_follow_the_continuation(engine: VllmBackend) -> None:
    inputs = engine.inputs(IMAGE)
    one, other = (engine.outputs(inputs, tokens, 1) for tokens in ((11, 7, 5), (11, 9, 5)))
    np.testing.assert_array_equal(one.decode[0], other.decode[0])
    assert compute_max_distance(one.decode[1:], other.decode[1:]) > 0.01


def test_greedy_tokens_are_the_most_likely_ones(engine: VllmBackend) -> None:
    inputs = engine.inputs(IMAGE)
    greedy = engine.outputs(inputs, CONTINUATION, 6).greedy
    along = engine.outputs(inputs, greedy, 6)
    rows = np.concatenate([along.prefill[-1:], along.decode])
    assert tuple(rows.argmax(-1).tolist()) == along.greedy == greedy


def test_no_row_comes_from_the_prefix_cache(engine: VllmBackend) -> None:
    request = make_request(LARGE_IMAGE, TEXT_PART)
    inputs, first = ask(engine, request)
    _, again = ask(engine, request)
    assert _cached_tokens(engine, inputs) > 0, "nothing was cached: this test would show nothing"
    assert again.prefill.shape == first.prefill.shape == (len(inputs.input_ids), VOCABULARY)
    np.testing.assert_array_equal(again.prefill, first.prefill)
    np.testing.assert_array_equal(again.decode, first.decode)


def _cached_tokens(engine: VllmBackend, inputs: Inputs) -> int:
    """How many positions vLLM takes from the cache when nobody asks it not to."""
    from vllm import SamplingParams

    core = engine._engine.llm_engine
    core.add_request("plain", inputs.prepared, SamplingParams(max_tokens=1))
    answers = []
    while core.has_unfinished_requests():
        answers += core.step()
    return int(answers[-1].num_cached_tokens)


@pytest.mark.parametrize("unseen", range(len(CONTINUATION)))
def test_a_step_that_was_not_seen_is_an_error(
    engine: VllmBackend, monkeypatch: pytest.MonkeyPatch, unseen: int
) -> None:
    steps = iter(range(len(CONTINUATION)))
    record = Recorder.record
    monkeypatch.setattr(Recorder, "record", lambda self: None if next(steps) == unseen else record(self))
    with pytest.raises(RuntimeError, match=r"were seen$|were to be run, but"):
        ask(engine, IMAGE)


def test_the_engine_outlives_a_capture_that_failed(
    engine: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Recorder) -> None:
        raise ZeroDivisionError

    _, before = ask(engine, IMAGE)
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "record", fail)
        with pytest.raises(ZeroDivisionError):
            ask(engine, IMAGE)
    _, after = ask(engine, IMAGE)
    np.testing.assert_array_equal(after.prefill, before.prefill)


@pytest.mark.parametrize("gone", ["logits", "hidden_states"])
def test_a_private_name_that_is_gone_is_named(gone: str) -> None:
    state = SimpleNamespace(logits=None, hidden_states=None)
    delattr(state, gone)
    with pytest.raises(PrivateApiChangedError, match=rf"SimpleNamespace\.execute_model_state has no {gone}$"):
        Recorder(SimpleNamespace(execute_model_state=state), "one", 1, 1).record()


def test_a_state_that_is_gone_is_named() -> None:
    with pytest.raises(PrivateApiChangedError, match=r"execute_model_state has no logits, hidden_states$"):
        Recorder(SimpleNamespace(), "one", 1, 1).record()


def test_a_name_of_the_runner_that_is_gone_is_named() -> None:
    state = SimpleNamespace(logits=None, hidden_states=None)
    runner = SimpleNamespace(execute_model_state=state, input_batch=None, input_ids=None)
    with pytest.raises(
        PrivateApiChangedError, match=r"SimpleNamespace has no query_start_loc, supports_mm_inputs$"
    ):
        Recorder(runner, "one", 1, 1).record()


def test_the_reference_alone_chooses_its_continuation(engine: VllmBackend) -> None:
    with pytest.raises(ValueError, match="reference"):
        engine.outputs(engine.inputs(IMAGE), None, 1)


def test_slow_rows_are_those_of_vllms_own_prompt_logprobs(engine: VllmBackend) -> None:
    """The one check of the capture that does not rest on it: about 0.15 s a position."""
    inputs, outputs = ask(engine, REQUESTS["text"])
    told = _prompt_logprobs(engine, inputs.input_ids)
    assert told.shape == (len(inputs.input_ids) - 1, VOCABULARY)
    captured = np.stack([compute_log_softmax(row) for row in outputs.prefill[:-1]])
    assert np.abs(captured - told).max() < MAX_DISTANCE


def _prompt_logprobs(engine: VllmBackend, ids: tuple[int, ...]) -> np.ndarray:
    """float64 [positions - 1, vocabulary]: the row of a position is told with the token behind it."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, prompt_logprobs=-1, flat_logprobs=True, detokenize=False)
    (answer,) = engine._engine.generate({"prompt_token_ids": list(ids)}, params, use_tqdm=False)
    told = answer.prompt_logprobs
    rows = np.full((len(ids) - 1, VOCABULARY), np.nan)
    for row, start, stop in zip(rows, told.start_indices[1:], told.end_indices[1:], strict=True):
        row[told.token_ids[start:stop]] = told.logprobs[start:stop]
    return rows
