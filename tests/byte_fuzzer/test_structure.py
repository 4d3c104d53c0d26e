"""Mutations of structure: still a file of its kind, but another one."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tests.byte_fuzzer.structure import mutate_json, mutate_safetensors, mutate_yaml

RECORD = json.dumps({"a": [1, {"b": "text"}], "c": None, "d": 0.5, "e": True}).encode()
SEEDS = range(200)


@pytest.mark.parametrize(("mutate", "load_text"), [(mutate_json, json.loads), (mutate_yaml, yaml.safe_load)])
def test_a_mutated_document_can_be_parsed(
    mutate: Callable[[bytes, int], bytes | None], load_text: Callable[[bytes], object]
) -> None:
    mutated = {mutate(RECORD, seed) for seed in SEEDS}
    assert len(mutated) > len(SEEDS) / 2
    for content in mutated:
        assert content is not None
        load_text(content)


def test_the_same_seed_makes_the_same_mutation() -> None:
    assert mutate_json(RECORD, 1) == mutate_json(RECORD, 1)


def test_a_header_keeps_its_length_and_its_data() -> None:
    arrays = save({"a": np.arange(3.0), "b": np.zeros((2, 2), np.float32)})
    data = arrays[-40:]
    errors = set()
    for seed in SEEDS:
        content = mutate_safetensors(arrays, seed)
        assert content is not None
        assert content.endswith(data)
        try:
            load(content)
        except SafetensorError as error:
            errors.add(str(error).partition(":")[0])
    assert not any("too small" in error or "too large" in error for error in errors)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff", b"[" * 100_000, b"1" * 5000])
def test_what_has_no_structure_is_left_to_mutations_of_bytes(content: bytes) -> None:
    assert mutate_json(content, 0) is None or content.isdigit()
    assert mutate_safetensors(content, 0) is None
