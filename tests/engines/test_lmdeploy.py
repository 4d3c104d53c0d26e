"""LMDeploy's real engine on the CPU, with synthetic checkpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.requests import join_pixel_values, record_tower_inputs

pytest.importorskip("lmdeploy")
torch = pytest.importorskip("torch")

from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.backends.common.openai_messages import build_openai_messages
from vlm_parity.media.load import DecodedVideo, load_media
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.util.errors import EngineCrashedError, EngineError, UnsupportedError

VOCABULARY = 151936
IMAGE_PAD, VIDEO_PAD = 151655, 151656
IMAGE_PART = {"image": {"pattern": "gradient", "size": [112, 84]}}
VIDEO_PART = {"video": {"pattern": "checkerboard", "size": [112, 84], "frames": 4, "fps": 2.0}}
OTHER_CLIP = {"video": {"pattern": "gradient", "size": [84, 112], "frames": 5, "fps": 2.0}}
TEXT_PART = {"text": "What is it?"}


def _request(*parts: Any) -> Request:
    message = {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}
    case = Case.model_validate({"name": "case", "summary": "a test", "messages": [message]})
    return Request(case, load_media(case))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def _longer(inputs: Inputs, tokens: tuple[int, ...]) -> dict[str, Any]:
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


@pytest.mark.parametrize("request_", [_request("Hello"), _request(IMAGE_PART, TEXT_PART)], ids=["text", "image"])
def test_forced_rows_are_those_of_longer_prompts(engine: LmdeployBackend, request_: Request) -> None:
    inputs = engine.inputs(request_)
    outputs = engine.outputs(inputs, (11, 7, 2024, 151645, 5), 4)
    assert outputs.prefill.shape == (len(inputs.input_ids), VOCABULARY)
    assert outputs.prefill.dtype == np.float32
    assert np.isfinite(outputs.prefill).all()
    assert outputs.decode.shape == (4, VOCABULARY)
    assert outputs.continuation == (11, 7, 2024, 151645, 5)
    longer = engine._generator.compute_prompt_logits(_longer(inputs, outputs.continuation[:-1]))[-4:]
    assert np.abs(_log_softmax(outputs.decode) - _log_softmax(longer)).max() < 1e-5


def test_what_is_recorded_enters_the_tower(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(_request(IMAGE_PART, {"text": "and"}, IMAGE_PART, TEXT_PART))
    model = engine._recorder._agent.patched_model.get_model()
    with record_tower_inputs(model.visual) as seen:
        engine.outputs(inputs, (11,), 1)
    assert seen
    for each in seen:
        np.testing.assert_array_equal(each, join_pixel_values(inputs.media, "image"))


def test_greedy_tokens_are_the_most_likely_ones(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(_request(IMAGE_PART, TEXT_PART))
    greedy = engine._generator.generate_greedy(inputs.prepared, 6)
    outputs = engine.outputs(inputs, greedy, 6)
    assert outputs.greedy == greedy
    rows = np.concatenate([outputs.prefill[-1:], outputs.decode])
    assert tuple(rows.argmax(-1).tolist()) == greedy


def test_prompt_logits_leave_no_trace_in_the_next_request(engine: LmdeployBackend) -> None:
    long, short = engine.inputs(_request(IMAGE_PART, TEXT_PART)), engine.inputs(_request("Hello"))
    want = engine._generator.generate_greedy(short.prepared, 6)
    engine._generator.compute_prompt_logits(long.prepared)
    assert engine._generator.generate_greedy(short.prepared, 6) == want


def test_a_continuation_of_one_token_has_no_decode_row(engine: LmdeployBackend) -> None:
    outputs = engine.outputs(engine.inputs(_request("Hello")), (11,), 1)
    assert outputs.decode.shape == (0, VOCABULARY)
    assert len(outputs.greedy) == 1


def test_a_prompt_beyond_the_limit_is_an_error(engine: LmdeployBackend) -> None:
    inputs = engine.inputs(_request("Hello"))
    with pytest.raises(EngineError, match="INPUT_LENGTH_ERROR"):
        engine._generator.compute_prompt_logits(_longer(inputs, (11,) * 512))
    with pytest.raises(EngineError, match="tokens of 600"):
        engine._generator.generate_greedy(inputs.prepared, 600)


def test_it_says_what_it_was_told_and_what_was_redirected(engine: LmdeployBackend) -> None:
    assert engine.applied_engine_args["dtype"] == "float32"
    assert engine.applied_engine_args["device_type"] == "cpu"
    assert engine.applied_engine_args["session_len"] == 513
    assert any(note.startswith("torch.cuda.Stream, ") for note in engine.workarounds)


def test_the_reference_alone_chooses_its_continuation(engine: LmdeployBackend) -> None:
    with pytest.raises(ValueError, match="reference"):
        engine.outputs(engine.inputs(_request("Hello")), None, 1)


def test_an_image_takes_its_placeholders(frontend: LmdeployBackend) -> None:
    inputs = frontend.inputs(_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, IMAGE_PART, TEXT_PART))
    assert inputs.prompt is not None
    assert inputs.prompt.count("<|image_pad|>") == 2
    assert inputs.spans is not None
    assert [(span.modality, span.item) for span in inputs.spans] == [("image", 0), ("image", 1)]
    embedded = {p for span in inputs.spans for run in span.runs for p in range(*run)}
    assert embedded == {p for p, token in enumerate(inputs.input_ids) if token == IMAGE_PAD}


def test_a_text_goes_as_text(frontend: LmdeployBackend) -> None:
    inputs = frontend.inputs(_request("Hello"))
    assert inputs.prompt is not None
    assert "Hello" in inputs.prompt
    assert inputs.spans == ()
    assert "multimodal" not in inputs.prepared


def test_texts_of_tokens(frontend: LmdeployBackend) -> None:
    assert frontend.decode_token_texts([IMAGE_PAD, 9707]) == {IMAGE_PAD: "<|image_pad|>", 9707: "Hello"}


def _load(name: str, **settings: Any) -> LmdeployBackend:
    backend = LmdeployBackend(Settings(depth=Depth.TOKENS, **settings))
    backend.load(build_checkpoint(name))
    return backend


def test_video_is_refused_on_qwen2_vl_in_the_engines_words() -> None:
    backend = _load("qwen2_vl")
    with pytest.raises(UnsupportedError, match=r"^UnsupportedError message type: video$"):
        backend.inputs(_request(VIDEO_PART, TEXT_PART))
    backend.close()


def test_each_video_of_qwen3_vl_has_one_span_of_many_runs() -> None:
    backend = _load("qwen3_vl")
    inputs = backend.inputs(_request(VIDEO_PART, IMAGE_PART, OTHER_CLIP, TEXT_PART))
    backend.close()
    assert Stage.SPANS not in inputs.not_captured
    assert inputs.spans is not None
    assert [(span.modality, span.item) for span in inputs.spans] == [("video", 0), ("image", 0), ("video", 1)]
    assert [len(span.runs) for span in inputs.spans] == [2, 1, 3]
    videos = [
        p for span in inputs.spans if span.modality == "video" for run in span.runs for p in range(*run)
    ]
    assert videos == [p for p, token in enumerate(inputs.input_ids) if token == VIDEO_PAD]


def test_the_timestamps_of_a_video_follow_its_frame_rate() -> None:
    backend = _load("qwen3_vl")
    clip = {"video": {**VIDEO_PART["video"], "fps": 0.5}}
    slow = backend.inputs(_request(clip, TEXT_PART))
    backend.close()
    texts = "".join(backend.decode_token_texts([token])[token] for token in slow.input_ids)
    assert "<1.0 seconds>" in texts
    assert "<5.0 seconds>" in texts


def test_frames_arrive_bit_by_bit() -> None:
    backend = _load("qwen3_vl")
    request = _request(VIDEO_PART, TEXT_PART)
    (video,) = request.media
    assert isinstance(video, DecodedVideo)
    parsed = asyncio.run(
        backend._frontend._processor.async_parse_multimodal_item(
            list(build_openai_messages(request)), {"video": {"fps": 3.0, "num_frames": -1}}
        )
    )
    backend.close()
    part = parsed[0]["content"][0]
    np.testing.assert_array_equal(part["data"], video.frames)
    assert part["video_metadata"]["fps"] == 3.0
    assert part["video_metadata"]["frames_indices"] == [0, 1, 2, 3]


def test_the_count_video_entries_videos_must_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _load("qwen3_vl")
    monkeypatch.setattr(backend._frontend, "_count_video_entries", lambda _videos: [7, 7])
    inputs = backend.inputs(_request(VIDEO_PART, OTHER_CLIP, TEXT_PART))
    backend.close()
    assert inputs.spans is None
    assert Stage.SPANS in inputs.not_captured


def test_an_unknown_architecture_is_refused_in_the_engines_words(tmp_path: Path) -> None:
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
    backend = _load("qwen2_vl", device="cuda", dtype="float16")
    assert backend.workarounds == []
    assert torch.cuda.Stream is before
    assert "num_gpu_blocks" not in backend.applied_engine_args
    backend.close()


def test_a_dead_engine_is_told_and_does_not_hang() -> None:
    backend = LmdeployBackend(Settings(max_length=256))
    backend.load(build_checkpoint("qwen2_vl"))
    inputs = backend.inputs(_request("Hello"))

    def fail(_ids: Any, _row: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(EngineCrashedError, match="dead"):
        backend._generator._request(inputs.prepared, max_new_tokens=1, logits_processors=[fail])
    with pytest.raises(EngineCrashedError, match="dead"):
        backend.outputs(inputs, (11,), 1)
    backend.close()
