"""With pytest-xdist: what belongs to one engine goes to one worker."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

from vlm_parity.pytest_plugin.xdist import get_engine_scope


@pytest.mark.parametrize(
    ("test", "engine"),
    [
        ("test_prompt[qwen2_vl-vllm-two_images]", "qwen2_vl-vllm"),
        ("test_greedy[qwen2_vl-lmdeploy-two_images]", "qwen2_vl-lmdeploy"),
        ("test_prompt[Qwen--Qwen3-VL-2B-vllm-text_only]", "Qwen--Qwen3-VL-2B-vllm"),
        ("test_prompt[a-vllm-model-lmdeploy-text_only]", "a-vllm-model-lmdeploy"),
        ("test_prompt[qwen2_vl-vllm-chunked_prefill-two_images]", "qwen2_vl-vllm-chunked_prefill"),
        ("test_prompt[a-vllm-model-lmdeploy-cached-text_only]", "a-vllm-model-lmdeploy-cached"),
        ("test_prompt[qwen2_vl-vllm-token_ids-two_images]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-vllm-text-text]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-vllm-text]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-another-text_only]", None),
        ("test_prompt", None),
        ("test_prompt[0]", None),
    ],
)
def test_the_engine_of_a_test(test: str, engine: str | None) -> None:
    assert get_engine_scope(f"cases/test_input.py::{test}") == engine
