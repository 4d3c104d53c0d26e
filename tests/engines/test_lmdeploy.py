"""LMDeploy's real engine on the CPU, with synthetic checkpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.frontends import LoadFrontend
from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    TEXT_PART,
    VIDEO_PART,
    VOCABULARY,
    compute_max_distance,
    get_logits,
    join_pixel_values,
    make_request,
    record_tower_inputs,
)
from vlm_parity.schema.engine_setup import Depth

pytest.importorskip("lmdeploy")
torch = pytest.importorskip("torch")

from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.common.openai_messages import build_openai_messages
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.media.load import DecodedVideo
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import EngineCrashedError, EngineError, UnsupportedError

IMAGE_PAD, VIDEO_PAD = 151655, 151656
FIVE_FRAMES_PART = {"video": {"pattern": "gradient", "size": [84, 112], "frames": 5, "fps": 2.0}}
TEXT = Request(
    Case.model_validate(
        {"name": "text", "summary": "a test", "messages": [{"role": "user", "content": "Hello"}]}
    ),
    media=(),
)
IMAGE = make_request(IMAGE_PART, TEXT_PART)


def append_tokens(inputs: Inputs, tokens: tuple[int, ...]) -> dict[str, Any]:
    return {**inputs.prepared, "input_ids": [*inputs.input_ids, *tokens]}


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen3_vl"])
def engine(request: pytest.FixtureRequest) -> Iterator[LmdeployBackend]:
    backend = LmdeployBackend(Settings(max_length=512))
    backend.load(build_checkpoint(request.param))
    yield backend
    backend.close()


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen3_vl"])
def frontend(request: pytest.FixtureRequest) -> Iterator[LmdeployBackend]:
    backend = LmdeployBackend(Settings(depth=Depth.TOKENS))
    backend.load(build_checkpoint(request.param))
    yield backend
    backend.close()


@pytest.mark.parametrize("request_", [TEXT, IMAGE], ids=["text", "image"])
def test_forced_rows_are_those_of_longer_prompts(engine: LmdeployBackend, request_: Request) -> None:
    inputs = engine.inputs(request_)
    outputs = engine.outputs(inputs, CONTINUATION, 4)
    prefill, decode = get_logits(outputs.prefill), get_logits(outputs.decode)
    assert prefill.shape == (len(inputs.input_ids), VOCABULARY)
    assert prefill.dtype == np.float32
    assert np.isfinite(prefill).all()
    assert decode.shape == (4, VOCABULARY)
    assert outputs.continuation == CONTINUATION
    longer = engine._generator.compute_prompt_logits(append_tokens(inputs, CONTINUATION[:-1]))[-4:]
    assert compute_max_distance(decode, longer) < 1e-5


def test_captured_media_are_the_inputs_of_the_tower(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(make_request(IMAGE_PART, {"text": "and"}, IMAGE_PART, TEXT_PART))
    model = engine._recorder._agent.patched_model.get_model()
    with record_tower_inputs(model.visual) as tower_inputs:
        engine.outputs(inputs, (11,), 1)
    assert tower_inputs
    for pixel_values in tower_inputs:
        np.testing.assert_array_equal(pixel_values, join_pixel_values(inputs.media, "image"))


def test_greedy_tokens_are_the_most_likely_ones(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(IMAGE)
    greedy = engine._generator.generate_greedy(inputs.prepared, 6)
    outputs = engine.outputs(inputs, greedy, 6)
    assert outputs.greedy == greedy
    rows = np.concatenate([get_logits(outputs.prefill)[-1:], get_logits(outputs.decode)])
    assert tuple(rows.argmax(-1).tolist()) == greedy


def test_prompt_logits_do_not_affect_the_next_request(engine: LmdeployBackend) -> None:
    long, short = engine.inputs(IMAGE), engine.inputs(TEXT)
    expected = engine._generator.generate_greedy(short.prepared, 6)
    engine._generator.compute_prompt_logits(long.prepared)
    assert engine._generator.generate_greedy(short.prepared, 6) == expected


def test_a_continuation_of_one_token_has_no_decode_row(engine: LmdeployBackend) -> None:
    outputs = engine.outputs(engine.inputs(TEXT), (11,), 1)
    assert get_logits(outputs.decode).shape == (0, VOCABULARY)
    assert len(outputs.greedy) == 1


def test_a_prompt_beyond_the_limit_is_an_error(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(TEXT)
    with pytest.raises(EngineError, match="INPUT_LENGTH_ERROR"):
        engine._generator.compute_prompt_logits(append_tokens(inputs, (11,) * 512))
    with pytest.raises(EngineError, match="of 600 tokens"):
        engine._generator.generate_greedy(inputs.prepared, 600)


def test_engine_args_and_redirections_are_recorded(engine: LmdeployBackend) -> None:
    assert engine.applied_engine_args["dtype"] == "float32"
    assert engine.applied_engine_args["device_type"] == "cpu"
    assert engine.applied_engine_args["session_len"] == 513
    assert any(note.startswith("torch.cuda.Stream, ") for note in engine.workarounds)


def test_a_continuation_is_required(engine: LmdeployBackend) -> None:
    with pytest.raises(ValueError, match="reference"):
        engine.outputs(engine.inputs(TEXT), None, 1)


def test_spans_hold_all_placeholders(frontend: LmdeployBackend) -> None:
    inputs = frontend.inputs(
        make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, IMAGE_PART, TEXT_PART)
    )
    assert inputs.prompt is not None
    assert inputs.prompt.count("<|image_pad|>") == 2
    assert inputs.spans is not None
    assert [(span.modality, span.item) for span in inputs.spans] == [("image", 0), ("image", 1)]
    embedded = {position for span in inputs.spans for position in span.positions}
    assert embedded == {position for position, token in enumerate(inputs.input_ids) if token == IMAGE_PAD}


def test_string_content_has_no_multimodal_entries(frontend: LmdeployBackend) -> None:
    inputs = frontend.inputs(TEXT)
    assert inputs.prompt is not None
    assert "Hello" in inputs.prompt
    assert inputs.spans == ()
    assert "multimodal" not in inputs.prepared


def test_token_texts_are_those_of_the_tokenizer(frontend: LmdeployBackend) -> None:
    assert frontend.decode_token_texts([IMAGE_PAD, 9707]) == {IMAGE_PAD: "<|image_pad|>", 9707: "Hello"}


def test_video_is_unsupported_on_qwen2_vl_with_the_message_of_the_engine(load_frontend: LoadFrontend) -> None:
    with pytest.raises(UnsupportedError, match=r"^Unsupported message type: video$"):
        load_frontend("lmdeploy", "qwen2_vl").inputs(make_request(VIDEO_PART, TEXT_PART))


@pytest.fixture
def qwen3_vl(load_frontend: LoadFrontend) -> Any:
    return load_frontend("lmdeploy", "qwen3_vl")


def test_each_video_of_qwen3_vl_has_one_span_of_many_runs(qwen3_vl: Any) -> None:
    inputs = qwen3_vl.inputs(make_request(VIDEO_PART, IMAGE_PART, FIVE_FRAMES_PART, TEXT_PART))
    assert Stage.SPANS not in inputs.not_captured
    assert inputs.spans is not None
    assert [(span.modality, span.item) for span in inputs.spans] == [("video", 0), ("image", 0), ("video", 1)]
    assert [len(span.runs) for span in inputs.spans] == [2, 1, 3]
    embedded = [position for span in inputs.spans if span.modality == "video" for position in span.positions]
    assert embedded == [position for position, token in enumerate(inputs.input_ids) if token == VIDEO_PAD]


def test_the_timestamps_of_a_video_follow_its_frame_rate(qwen3_vl: Any) -> None:
    slow_part = {"video": {**VIDEO_PART["video"], "fps": 0.5}}
    slow = qwen3_vl.inputs(make_request(slow_part, TEXT_PART))
    text = "".join(qwen3_vl.decode_token_texts([token])[token] for token in slow.input_ids)
    assert "<1.0 seconds>" in text
    assert "<5.0 seconds>" in text


def test_frames_reach_the_processor_unchanged(qwen3_vl: Any) -> None:
    request = make_request(VIDEO_PART, TEXT_PART)
    (video,) = request.media
    assert isinstance(video, DecodedVideo)
    parsed = asyncio.run(
        qwen3_vl._frontend._processor.async_parse_multimodal_item(
            build_openai_messages(request), {"video": {"fps": 3.0, "num_frames": -1}}
        )
    )
    part = parsed[0]["content"][0]
    np.testing.assert_array_equal(part["data"], video.frames)
    assert part["video_metadata"]["fps"] == 3.0
    assert part["video_metadata"]["frames_indices"] == [0, 1, 2, 3]


def test_spans_are_not_captured_if_the_entries_of_videos_cannot_be_assigned(
    qwen3_vl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen3_vl._frontend, "_count_video_entries", lambda _: [7, 7])
    inputs = qwen3_vl.inputs(make_request(VIDEO_PART, FIVE_FRAMES_PART, TEXT_PART))
    assert inputs.spans is None
    assert Stage.SPANS in inputs.not_captured


def test_an_unknown_architecture_is_unsupported_with_the_message_of_the_engine(tmp_path: Path) -> None:
    built = build_checkpoint("qwen2_vl")
    for file in built.path.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((built.path / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["NobodyKnowsForConditionalGeneration"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    unknown = Checkpoint("unknown", "qwen2_vl", tmp_path, "unknown", "")
    with pytest.raises(UnsupportedError, match=r"Can not found rewrite for architectures.*NobodyKnows"):
        LmdeployBackend(Settings(depth=Depth.TOKENS)).load(unknown)


def test_on_cuda_nothing_is_redirected() -> None:
    before = torch.cuda.Stream
    settings = Settings(depth=Depth.TOKENS, device="cuda", dtype="float16")
    with closing(LmdeployBackend(settings)) as backend:
        backend.load(build_checkpoint("qwen2_vl"))
        assert backend.workarounds == []
        assert torch.cuda.Stream is before
        assert "num_gpu_blocks" not in backend.applied_engine_args


def test_features_are_captured_if_the_model_calls_forward_directly() -> None:
    """``internvl.py`` calls ``language_model.forward``, on which no hook runs."""
    with closing(LmdeployBackend(Settings(max_length=512))) as backend:
        backend.load(build_checkpoint("internvl"))
        inputs = backend.inputs(IMAGE)
        outputs = backend.outputs(inputs, (11,), 1)
        assert outputs.embeddings is not None
        assert np.isfinite(outputs.embeddings).all()
        assert "forward" not in vars(backend._recorder._language_model)


def test_a_crashed_engine_raises_and_does_not_hang() -> None:
    backend = LmdeployBackend(Settings(max_length=256))
    backend.load(build_checkpoint("qwen2_vl"))
    inputs = backend.inputs(TEXT)

    def fail(_ids: Any, _row: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(EngineCrashedError, match="ENGINE_STOP_ERROR"):
        backend._generator._request(inputs.prepared, max_new_tokens=1, logits_processors=[fail])
    with pytest.raises(EngineCrashedError, match="ENGINE_STOP_ERROR"):
        backend.outputs(inputs, (11,), 1)
    backend.close()
