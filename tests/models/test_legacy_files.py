"""Checkpoint files in the form before transformers 5."""

from __future__ import annotations

import pytest

from vlm_parity.models.legacy_files import build_legacy_config, build_legacy_processor, build_legacy_tokenizer

MROPE = {"rope_type": "default", "type": "mrope", "mrope_section": [4, 6, 6], "rope_theta": 1e6}


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_first_families_have_mrope_and_text_keys_at_the_top_level(name: str) -> None:
    text = {"model_type": f"{name}_text", "hidden_size": 64, "rope_parameters": MROPE}
    legacy = build_legacy_config({"model_type": name, "dtype": "bfloat16", "text_config": text})
    assert legacy == {
        "model_type": name,
        "torch_dtype": "bfloat16",
        "hidden_size": 64,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
    }


def test_later_families_have_the_type_default_under_two_keys() -> None:
    text = {"model_type": "qwen2_5_omni_text", "rope_parameters": MROPE}
    legacy = build_legacy_config({"model_type": "qwen2_5_omni_thinker", "text_config": text})
    scaling = {"type": "default", "rope_type": "default", "mrope_section": [4, 6, 6]}
    assert legacy["text_config"]["rope_scaling"] == scaling


def test_default_rope_has_no_scaling() -> None:
    legacy = build_legacy_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    assert legacy == {"rope_theta": 1e4}


@pytest.mark.parametrize(
    ("processor", "tokenizer"),
    [("Qwen2_5OmniProcessor", "Qwen2Tokenizer"), ("InternVLProcessor", "PreTrainedTokenizerFast")],
)
def test_tokenizer_class_is_that_of_the_released_file(processor: str, tokenizer: str) -> None:
    legacy = build_legacy_tokenizer({"processor_class": processor, "tokenizer_class": "TokenizersBackend"})
    assert legacy["tokenizer_class"] == tokenizer


def test_architecture_is_that_of_the_released_file() -> None:
    legacy = build_legacy_config({"architectures": ["Qwen2_5OmniForConditionalGeneration"]})
    assert legacy == {"architectures": ["Qwen2_5OmniModel"]}
    assert build_legacy_config({"architectures": ["Qwen2VLForConditionalGeneration"]}) == {
        "architectures": ["Qwen2VLForConditionalGeneration"]
    }


def test_image_sizes_of_qwen_become_limits_in_pixels() -> None:
    size = {"longest_edge": 12845056, "shortest_edge": 3136}
    image_processor = {"image_processor_type": "Qwen2VLImageProcessor", "size": size}
    files = build_legacy_processor(
        {"processor_class": "Qwen2_5OmniProcessor", "image_processor": image_processor}
    )
    assert files["preprocessor_config.json"] == {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "processor_class": "Qwen2_5OmniProcessor",
    }


def test_other_image_sizes_are_kept() -> None:
    image_processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 112}}
    files = build_legacy_processor({"image_processor": image_processor})
    assert files["preprocessor_config.json"]["size"] == {"shortest_edge": 112}
