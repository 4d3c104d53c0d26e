"""Chunks of vLLM's modality ``vision_chunk``, split by the media of the conversation."""

from __future__ import annotations

import pytest

from vlm_parity.backends.vllm.spans import split_chunks_by_modality


def test_chunks_move_to_the_modality_of_their_medium() -> None:
    rendered = {
        "prompt": "look",
        "mm_placeholders": {"vision_chunk": [1, 2, 3]},
        "mm_kwargs": {"vision_chunk": ["a", "b", "c"]},
    }
    assert split_chunks_by_modality(rendered, ["image", "video", "image"]) == {
        "prompt": "look",
        "mm_placeholders": {"image": [1, 3], "video": [2]},
        "mm_kwargs": {"image": ["a", "c"], "video": ["b"]},
    }
    assert rendered["mm_kwargs"] == {"vision_chunk": ["a", "b", "c"]}


def test_media_under_their_own_modality_are_unchanged() -> None:
    rendered = {"mm_placeholders": {"image": [1]}, "mm_kwargs": {"image": ["a"]}}
    assert split_chunks_by_modality(rendered, ["image"]) == rendered
    assert split_chunks_by_modality({"prompt": "text"}, []) == {
        "prompt": "text",
        "mm_placeholders": {},
        "mm_kwargs": {},
    }


def test_a_different_number_of_chunks_and_media_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 chunks"):
        split_chunks_by_modality({"mm_placeholders": {"vision_chunk": [1, 2, 3]}}, ["image"])
