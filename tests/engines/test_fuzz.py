"""The fuzzer on the real front ends: it finds a planted fault and shrinks it, and nothing without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.fuzz.campaign import Campaign, FuzzProfile, ShrunkFailure
from vlm_parity.fuzz.frontends import build_settings, open_frontends
from vlm_parity.fuzz.oracle import Oracle
from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.fuzz_findings import FindingKey
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.selfcheck.registry import build_injected_fault

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
MODEL = "qwen2_5_vl"
PICTURES = SearchSpace(("image",), special=("Hi",))
"""Without typed special tokens, which part the engines by themselves."""


def hunted(backend: str, fault: str | None, folder: Path, examples: int) -> Iterator[ShrunkFailure]:
    checkpoint = build_checkpoint(MODEL)
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    settings = build_settings(checkpoint, Settings())
    injected = build_injected_fault(fault) if fault else None
    logs = folder / "reference.log", folder / "engine.log"
    with open_frontends(
        backend, checkpoint, settings, logs, folder / "scratch", (300, 60), injected
    ) as front:
        caught: list[ShrunkFailure] = []
        hunt = Campaign(
            Oracle(front, checkpoint, config), PICTURES, FuzzProfile("test", examples, None, seed=3)
        )
        hunt.run(caught.append)
        assert hunt.tally.examples == examples
        yield from caught


@pytest.mark.skipif(not ENGINE, reason="neither engine is installed")
@pytest.mark.parametrize(
    ("fault", "key", "pictures"),
    [
        (
            "one row of placeholders missing",
            FindingKey("input_ids", "placeholder count differs by grid rows"),
            1,
        ),
        ("media in reverse order", FindingKey("input_ids", "media reordered"), 2),
    ],
)
def test_a_planted_fault_is_shrunk_to_what_it_takes(
    tmp_path: Path, fault: str, key: FindingKey, pictures: int
) -> None:
    found = {caught.key: caught.case for caught in hunted(ENGINE, fault, tmp_path, examples=40)}
    case = found[key]
    (message,) = case.messages
    recipes = [part.source for _, part in case.media]
    assert len(message.parts) == len(recipes) == pictures
    if pictures == 1:
        assert recipes == [ImageRecipe(pattern="gradient", size=(1, 1))]
    else:
        assert all(isinstance(recipe, ImageRecipe) and max(recipe.size) < 100 for recipe in recipes)


def test_transformers_agrees_with_itself(tmp_path: Path) -> None:
    assert list(hunted(REFERENCE_BACKEND, None, tmp_path, examples=100)) == []
