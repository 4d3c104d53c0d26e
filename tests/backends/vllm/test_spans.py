"""Chunks of vLLM's one modality, told apart by the conversation."""

from __future__ import annotations

import pytest

from vlm_parity.backends.vllm.spans import chunks_by_modality


def test_chunks_go_to_the_modality_of_their_medium() -> None:
    rendered = {
        "prompt": "look",
        "mm_placeholders": {"vision_chunk": [1, 2, 3]},
        "mm_kwargs": {"vision_chunk": ["a", "b", "c"]},
    }
    assert chunks_by_modality(rendered, ["image", "video", "image"]) == {
        "prompt": "look",
        "mm_placeholders": {"image": [1, 3], "video": [2]},
        "mm_kwargs": {"image": ["a", "c"], "video": ["b"]},
    }
    assert rendered["mm_kwargs"] == {"vision_chunk": ["a", "b", "c"]}


def test_what_vllm_tells_apart_itself_stays() -> None:
    rendered = {"mm_placeholders": {"image": [1]}, "mm_kwargs": {"image": ["a"]}}
    assert chunks_by_modality(rendered, ["image"]) == rendered
    assert chunks_by_modality({"prompt": "text"}, []) == {
        "prompt": "text",
        "mm_placeholders": {},
        "mm_kwargs": {},
    }


def test_chunks_that_do_not_fit_the_media_are_told() -> None:
    with pytest.raises(ValueError, match="3 chunks"):
        chunks_by_modality({"mm_placeholders": {"vision_chunk": [1, 2, 3]}}, ["image"])
