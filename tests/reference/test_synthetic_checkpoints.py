"""Synthetic checkpoints in transformers: released ids, and weights for which inputs change the outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import PIL.Image
import pytest

from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.models import build
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES, load_family
from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IMAGE = draw_image(ImageRecipe(pattern="checkerboard", size=(168, 112)))
PLACEHOLDERS = {"image": "<|image_pad|>", "video": "<|video_pad|>"}


@pytest.fixture(scope="module", params=DEFAULT_FAMILIES)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return build.build_checkpoint(request.param)


@pytest.fixture(scope="module")
def processor(checkpoint: Checkpoint) -> Any:
    return transformers.AutoProcessor.from_pretrained(checkpoint.path)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> Any:
    loader = transformers.AutoModelForImageTextToText
    model, report = loader.from_pretrained(checkpoint.path, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values())
    return model.eval()


def process(processor: Any, modality: str, **media: Any) -> Any:
    """Return the tensors of one medium and a question."""
    content = [{"type": modality}, {"type": "text", "text": "What is this?"}]
    chat = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return processor(text=[prompt], return_tensors="pt", **media)


def compute_logprobs(model: Any, processor: Any, image: PIL.Image.Image) -> np.ndarray:
    """Return log-probabilities: float64 [positions, vocabulary]."""
    with torch.no_grad():
        logits = model(**process(processor, "image", images=[image])).logits[0]
    return np.asarray(torch.log_softmax(logits.double(), -1))


def test_special_tokens_have_the_released_ids(checkpoint: Checkpoint, processor: Any) -> None:
    released = {
        "<|endoftext|>": 151643,
        "<|im_start|>": 151644,
        "<|im_end|>": 151645,
        "<|vision_start|>": 151652,
        "<|vision_end|>": 151653,
        "<|vision_pad|>": 151654,
        "<|image_pad|>": 151655,
        "<|video_pad|>": 151656,
    }
    if checkpoint.family != "qwen2_vl":
        released |= {"<tool_call>": 151657, "<|fim_prefix|>": 151659, "<|file_sep|>": 151664}
    tokenizer = processor.tokenizer
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in released} == released
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert len(tokenizer("".join(released)).input_ids) == len(released)


def test_text_is_normalized_as_released(processor: Any) -> None:
    assert processor.tokenizer("Cafe\u0301").input_ids == processor.tokenizer("Café").input_ids


def test_counts_agree_with_the_expanded_prompt(checkpoint: Checkpoint, processor: Any) -> None:
    family: Any = load_family(checkpoint.family)
    config = json.loads((checkpoint.path / "config.json").read_text())
    frames = draw_frames(VideoRecipe(pattern="gradient", size=(112, 84), frames=7))
    metadata = {"total_num_frames": 7, "fps": 2.0, "duration": 3.5, "frames_indices": list(range(7))}
    media: dict[str, dict[str, Any]] = {
        "image": {"images": [IMAGE]},
        "video": {"videos": [frames], "video_metadata": [metadata], "do_sample_frames": False},
    }
    for modality, placeholder in family.get_placeholder_ids(config).items():
        inputs = process(processor, modality, **media[modality])
        count = int((inputs["input_ids"] == placeholder).sum())
        assert family.count_features_by_modality(config, inputs) == {modality: [count]}
        assert processor.tokenizer.convert_ids_to_tokens(placeholder) == PLACEHOLDERS[modality]


@pytest.mark.parametrize("change", [np.fliplr, lambda pixels: pixels[..., ::-1]], ids=["mirrored", "swapped"])
def test_a_different_image_changes_the_outputs(model: Any, processor: Any, change: Any) -> None:
    other = PIL.Image.fromarray(np.ascontiguousarray(change(np.asarray(IMAGE))))
    difference = np.abs(compute_logprobs(model, processor, IMAGE) - compute_logprobs(model, processor, other))
    assert difference.max() > 1
    assert difference[-1].max() > 0.1


def test_weights_are_stored_as_bfloat16(checkpoint: Checkpoint) -> None:
    from safetensors import safe_open

    with safe_open(checkpoint.path / "model.safetensors", "pt") as file:
        dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert dtypes == {"BF16"}
    assert json.loads((checkpoint.path / "config.json").read_text())["dtype"] == "bfloat16"
