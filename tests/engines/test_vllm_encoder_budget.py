"""vLLM's encoder budget, compared with the positions of its largest media in transformers and vLLM."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.frontends import LoadFrontend
from vlm_parity.schema.engine_setup import Depth

pytest.importorskip("vllm")

from vllm.model_executor.models.qwen2_vl import Qwen2VLProcessingInfo

from vlm_parity.backends.base import Backend, Request, Settings
from vlm_parity.backends.vllm import max_media
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.max_media import EncoderBudgets
from vlm_parity.media.load import load_media
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.case import Case, Modality
from vlm_parity.schema.max_media import replace_max_media
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError


@pytest.fixture
def omni(load_frontend: LoadFrontend) -> Backend:
    backend: Backend = load_frontend("vllm", "qwen2_5_omni")
    return backend


@pytest.fixture
def qwen2_vl(load_frontend: LoadFrontend) -> Backend:
    backend: Backend = load_frontend("vllm", "qwen2_vl")
    return backend


def measure_again(backend: Any, modality: Modality) -> EncoderBudget:
    """Measure a budget; the backend itself keeps the first one."""
    return EncoderBudgets(backend._arguments, {}).measure(modality)


def count_positions(backend: Backend, budget: EncoderBudget) -> int:
    """Return the number of embedded positions of the medium of a budget."""
    message = {"role": "user", "content": [{budget.modality: {"max_size": True}}]}
    template = Case.model_validate({"name": "one", "summary": "s", "depth": "tokens", "messages": [message]})
    case = replace_max_media(template, budget)
    spans = backend.inputs(Request(case, load_media(case))).spans or ()
    return sum(span.embedded for span in spans if span.modality == budget.modality)


def test_the_budget_of_a_video_of_qwen2_5_omni_is_many_times_its_length(
    omni: Backend, load_frontend: LoadFrontend
) -> None:
    """QwenLM/Qwen2.5-Omni issue 248: 16384 positions for a video of 729. vLLM applies the limits of the image
    processor, but Qwen2_5OmniProcessor has separate limits for videos.
    """
    budget = omni.measure_encoder_budget("video")
    assert budget.medium == VideoRecipe(pattern="plain", size=(3584, 3584), frames=4)
    reference = load_frontend("transformers", "qwen2_5_omni")
    assert (budget.tokens, count_positions(reference, budget), count_positions(omni, budget)) == (
        32768,
        1458,
        1458,
    )


def test_the_budget_of_audio_of_qwen2_5_omni_is_its_length(omni: Backend) -> None:
    budget = omni.measure_encoder_budget("audio")
    assert (budget.tokens, budget.medium) == (750, AudioRecipe(waveform="sweep", seconds=30))
    assert count_positions(omni, budget) == 750


def test_the_budget_of_an_image_of_qwen2_vl_is_its_length(
    qwen2_vl: Backend, load_frontend: LoadFrontend
) -> None:
    budget = qwen2_vl.measure_encoder_budget("image")
    assert (budget.tokens, budget.medium) == (16384, ImageRecipe(pattern="plain", size=(3584, 3584)))
    assert budget.condition == "at a max_model_len of 32768"
    assert count_positions(load_frontend("transformers", "qwen2_vl"), budget) == 16384


def test_arguments_of_the_user_apply_and_those_of_the_harness_do_not() -> None:
    backend = VllmBackend(Settings(depth=Depth.TOKENS, engine_args={"max_model_len": 8192}, max_length=4096))
    backend.load(build_checkpoint("qwen2_vl"))
    assert backend.measure_encoder_budget("video").condition == "at a max_model_len of 8192"


def test_the_condition_states_a_shortened_sequence(
    qwen2_vl: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(max_media, "MAX_SEQUENCE_LENGTH", 20480)
    budget = measure_again(qwen2_vl, "video")
    assert budget.condition == "at a max_model_len of 20480, in place of the model's 32768"
    assert isinstance(budget.medium, VideoRecipe)
    assert budget.medium.frames == 2


def test_a_modality_without_a_budget_is_unsupported(qwen2_vl: Backend) -> None:
    with pytest.raises(UnsupportedError, match="no encoder budget for audio; those of this model: image"):
        qwen2_vl.measure_encoder_budget("audio")


def test_a_wrong_budget_is_reported(qwen2_vl: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Qwen2VLProcessingInfo.get_mm_max_tokens_per_item

    def one_more(*args: Any, **options: Any) -> dict[str, int]:
        return {name: count + 1 for name, count in original(*args, **options).items()}

    monkeypatch.setattr(Qwen2VLProcessingInfo, "get_mm_max_tokens_per_item", one_more)
    budget = measure_again(qwen2_vl, "image")
    assert budget.tokens == count_positions(qwen2_vl, budget) + 1


def test_an_error_names_a_missing_name(qwen2_vl: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("vllm.multimodal.encoder_budget.MultiModalBudget")
    with pytest.raises(PrivateApiChangedError, match="MultiModalBudget"):
        measure_again(qwen2_vl, "image")
