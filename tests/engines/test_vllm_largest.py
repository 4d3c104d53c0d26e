"""What vLLM reserves for its largest media, from its own budget, beside what transformers makes of them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm.model_executor.models.qwen2_vl import Qwen2VLProcessingInfo

from vlm_parity.backends.base import Backend, Request, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.vllm import max_media as vllm_largest
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.media.load import load_media
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import Depth, EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError


def loaded(kind: type[Backend], family: str, **settings: Any) -> Backend:
    backend = kind(Settings(depth=Depth.TOKENS, **settings))
    backend.load(build_checkpoint(family))
    return backend


@pytest.fixture(scope="module")
def omni() -> Backend:
    return loaded(VllmBackend, "qwen2_5_omni")


@pytest.fixture(scope="module")
def qwen2_vl() -> Backend:
    return loaded(VllmBackend, "qwen2_vl")


def made(side: Backend, reserved: EncoderBudget) -> int:
    """The embedded positions that a side makes of the medium."""
    message = {"role": "user", "content": [{reserved.modality: {"max_size": True}}]}
    asked = Case.model_validate({"name": "one", "summary": "s", "depth": "tokens", "messages": [message]})
    case = replace_max_media(asked, reserved)
    spans = side.inputs(Request(case, load_media(case))).spans or ()
    return sum(span.embedded for span in spans if span.modality == reserved.modality)


def test_a_video_of_qwen2_5_omni_is_reserved_at_many_times_its_length(omni: Backend) -> None:
    """QwenLM/Qwen2.5-Omni issue 248: 16384 positions for a video of 729. vLLM counts by the limits of the
    image processor, where Qwen2_5OmniProcessor gives videos limits of their own.
    """
    reserved = omni.measure_encoder_budget("video")
    assert reserved.medium == VideoRecipe(pattern="plain", size=(3584, 3584), frames=4)
    reference = loaded(TransformersBackend, "qwen2_5_omni")
    assert (reserved.tokens, made(reference, reserved), made(omni, reserved)) == (32768, 1458, 1458)


def test_a_sound_of_qwen2_5_omni_is_reserved_as_it_is(omni: Backend) -> None:
    reserved = omni.measure_encoder_budget("audio")
    assert (reserved.tokens, reserved.medium) == (750, AudioRecipe(waveform="sweep", seconds=30))
    assert made(omni, reserved) == 750


def test_a_picture_of_qwen2_vl_is_reserved_as_it_is(qwen2_vl: Backend) -> None:
    reserved = qwen2_vl.measure_encoder_budget("image")
    assert (reserved.tokens, reserved.medium) == (16384, ImageRecipe(pattern="plain", size=(3584, 3584)))
    assert reserved.condition == "at a max_model_len of 32768"
    assert made(loaded(TransformersBackend, "qwen2_vl"), reserved) == 16384


def test_the_harness_own_limits_do_not_count_and_the_users_do() -> None:
    told = loaded(VllmBackend, "qwen2_vl", engine_args={"max_model_len": 8192}, max_length=4096)
    assert told.measure_encoder_budget("video").condition == "at a max_model_len of 8192"


def test_a_longer_sequence_than_is_affordable_is_cut_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_largest, "MAX_AUDIO_SECONDS", 20480)
    reserved = loaded(VllmBackend, "qwen2_vl").measure_encoder_budget("video")
    assert reserved.condition == "at a max_model_len of 20480, in place of the model's 32768"
    assert isinstance(reserved.medium, VideoRecipe)
    assert reserved.medium.frames == 2


def test_what_a_model_does_not_take_is_not_reserved_for(qwen2_vl: Backend) -> None:
    with pytest.raises(UnsupportedError, match="of this model, by these names: for no audio"):
        qwen2_vl.measure_encoder_budget("audio")


def test_a_count_that_is_off_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Qwen2VLProcessingInfo.get_mm_max_tokens_per_item

    def one_more(*args: Any, **options: Any) -> dict[str, int]:
        return {name: count + 1 for name, count in original(*args, **options).items()}

    monkeypatch.setattr(Qwen2VLProcessingInfo, "get_mm_max_tokens_per_item", one_more)
    backend = loaded(VllmBackend, "qwen2_vl")
    reserved = backend.measure_encoder_budget("image")
    assert reserved.tokens == made(backend, reserved) + 1


def test_a_name_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("vllm.multimodal.encoder_budget.MultiModalBudget")
    with pytest.raises(PrivateApiChangedError, match="MultiModalBudget"):
        loaded(VllmBackend, "qwen2_vl").measure_encoder_budget("image")
