"""Synthetic tokenizers in the manner of SentencePiece: every text is decoded unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers")

from vlm_parity.models.synthetic.gemma_tokenizer import build_gemma_tokenizer
from vlm_parity.models.synthetic.llama_tokenizer import build_llama_tokenizer

LLAMA = build_llama_tokenizer({"<image>": 20000}, 20000)
GEMMA = build_gemma_tokenizer({"<image>": 20000}, 20000, 108, 217)


@pytest.mark.parametrize("tokenizer", [LLAMA, GEMMA], ids=["llama", "gemma"])
@given(text=st.text().filter(lambda text: "\u2581" not in text))
def test_a_text_is_decoded_unchanged(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert 3 not in ids or tokenizer is LLAMA  # Gemma's unknown token
    # The decoder of transformers' LlamaTokenizer strips one leading space: ``Strip(content=" ", left=1)``.
    assert tokenizer.decode(ids) == (text.removeprefix(" ") if tokenizer is LLAMA else text)


def test_a_character_outside_the_vocabulary_becomes_bytes() -> None:
    assert LLAMA.convert_ids_to_tokens(LLAMA("the \U0001f9ec").input_ids) == [
        "<s>",
        "\u2581the",
        "\u2581",
        "<0xF0>",
        "<0x9F>",
        "<0xA7>",
        "<0xAC>",
    ]


def test_runs_of_line_feeds_are_one_token() -> None:
    ids = GEMMA("a\n\n\nb\n<image>\n\n").input_ids
    assert [token for token in ids if 108 <= token < 139 or token == 20000] == [110, 108, 20000, 109]
