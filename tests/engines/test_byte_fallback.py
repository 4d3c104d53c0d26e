"""Tokenizers as SentencePiece makes them: every text comes back, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers")

from vlm_parity.models.synthetic.build_gemma_tokenizer import build_gemma_tokenizer
from vlm_parity.models.synthetic.build_llama_tokenizer import build_llama_tokenizer

LLAMA = build_llama_tokenizer({"<image>": 20000}, 20000)
GEMMA = build_gemma_tokenizer({"<image>": 20000}, 20000, 108, 217)


@pytest.mark.parametrize("tokenizer", [LLAMA, GEMMA], ids=["llama", "gemma"])
@given(text=st.render_text().filter(lambda text: "\u2581" not in text))
def test_a_text_comes_back(tokenizer: object, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids  # type: ignore[operator]
    assert 3 not in ids or tokenizer is LLAMA  # Gemma's unknown token
    assert tokenizer.decode(ids) == text  # type: ignore[attr-defined]


def test_a_space_and_a_character_that_is_no_word() -> None:
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
