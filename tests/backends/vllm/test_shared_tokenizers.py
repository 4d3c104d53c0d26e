"""Tokenizers that are shared while a model loads, and copied again afterwards."""

from __future__ import annotations

from copy import deepcopy

import pytest

transformers = pytest.importorskip("transformers")
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from vlm_parity.backends.vllm.shared_tokenizers import share_tokenizers


def test_a_tokenizer_is_copied_only_outside_of_the_block() -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    with share_tokenizers():
        assert deepcopy({"tokenizer": tokenizer})["tokenizer"] is tokenizer
    copy = deepcopy(tokenizer)
    assert copy is not tokenizer
    assert copy("a").input_ids == tokenizer("a").input_ids
