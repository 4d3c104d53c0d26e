"""Checkpoints in the older form: where the released files have what transformers 5 moved."""

from __future__ import annotations

import pytest

from vlm_parity.models.legacy_files import build_legacy_config, build_legacy_processor, build_legacy_tokenizer

MROPE = {"rope_type": "default", "type": "mrope", "mrope_section": [4, 6, 6], "rope_theta": 1e6}


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_the_first_families_name_multimodal_positions_once_and_lie_flat(name: str) -> None:
    text = {"model_type": f"{name}_text", "hidden_size": 64, "rope_parameters": MROPE}
    found = build_legacy_config({"model_type": name, "dtype": "bfloat16", "text_config": text})
    assert found == {
        "model_type": name,
        "torch_dtype": "bfloat16",
        "hidden_size": 64,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
    }


def test_later_families_call_them_default_twice() -> None:
    text = {"model_type": "qwen2_5_omni_text", "rope_parameters": MROPE}
    found = build_legacy_config({"model_type": "qwen2_5_omni_thinker", "text_config": text})
    scaling = {"type": "default", "rope_type": "default", "mrope_section": [4, 6, 6]}
    assert found["text_config"]["rope_scaling"] == scaling


def test_a_scaling_that_is_none_is_left_out() -> None:
    found = build_legacy_config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    assert found == {"rope_theta": 1e4}


@pytest.mark.parametrize(
    ("processor", "tokenizer"),
    [("Qwen2_5OmniProcessor", "Qwen2Tokenizer"), ("InternVLProcessor", "PreTrainedTokenizerFast")],
)
def test_a_processor_that_asks_for_a_tokenizer_by_name_gets_it(processor: str, tokenizer: str) -> None:
    found = build_legacy_tokenizer({"processor_class": processor, "tokenizer_class": "TokenizersBackend"})
    assert found["tokenizer_class"] == tokenizer


def test_an_architecture_has_the_name_that_the_released_file_gives_it() -> None:
    found = build_legacy_config({"architectures": ["Qwen2_5OmniForConditionalGeneration"]})
    assert found == {"architectures": ["Qwen2_5OmniModel"]}
    assert build_legacy_config({"architectures": ["Qwen2VLForConditionalGeneration"]}) == {
        "architectures": ["Qwen2VLForConditionalGeneration"]
    }


def test_the_sizes_of_qwen_pictures_are_limits_of_pixels() -> None:
    size = {"longest_edge": 12845056, "shortest_edge": 3136}
    pictures = {"image_processor_type": "Qwen2VLImageProcessor", "size": size}
    files = build_legacy_processor({"processor_class": "Qwen2_5OmniProcessor", "image_processor": pictures})
    assert files["preprocessor_config.json"] == {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "processor_class": "Qwen2_5OmniProcessor",
    }


def test_other_pictures_keep_their_size() -> None:
    pictures = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 112}}
    files = build_legacy_processor({"image_processor": pictures})
    assert files["preprocessor_config.json"]["size"] == {"shortest_edge": 112}
