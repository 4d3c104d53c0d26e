"""The fuzzer on real front ends: it finds and shrinks an injected fault, and finds nothing without one."""

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
IMAGES = SearchSpace(("image",), special=("Hi",))
"""Without typed special tokens, on which the engines differ without a fault."""


def find_failures(backend: str, fault: str | None, folder: Path, examples: int) -> Iterator[ShrunkFailure]:
    checkpoint = build_checkpoint(MODEL)
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    settings = build_settings(checkpoint, Settings())
    injected = build_injected_fault(fault) if fault else None
    logs = folder / "reference.log", folder / "engine.log"
    with open_frontends(
        backend, checkpoint, settings, logs, folder / "scratch", (300, 60), injected
    ) as frontends:
        failures: list[ShrunkFailure] = []
        campaign = Campaign(
            Oracle(frontends, checkpoint, config), IMAGES, FuzzProfile("test", examples, None, seed=3)
        )
        campaign.run(failures.append)
        assert campaign.stats.examples == examples
        yield from failures


@pytest.mark.skipif(not ENGINE, reason="neither engine is installed")
@pytest.mark.parametrize(
    ("fault", "key", "images"),
    [
        (
            "one row of placeholders missing",
            FindingKey("input_ids", "placeholder count differs by grid rows"),
            1,
        ),
        ("media in reverse order", FindingKey("input_ids", "media reordered"), 2),
    ],
)
def test_an_injected_fault_is_shrunk_to_a_minimum(
    tmp_path: Path, fault: str, key: FindingKey, images: int
) -> None:
    failures = find_failures(ENGINE, fault, tmp_path, examples=40)
    case = {failure.key: failure.case for failure in failures}[key]
    (message,) = case.messages
    recipes = [part.source for _, part in case.media]
    assert len(message.parts) == len(recipes) == images
    if images == 1:
        assert recipes == [ImageRecipe(pattern="gradient", size=(1, 1))]
    else:
        assert all(isinstance(recipe, ImageRecipe) and max(recipe.size) < 100 for recipe in recipes)


def test_transformers_matches_itself(tmp_path: Path) -> None:
    assert list(find_failures(REFERENCE_BACKEND, None, tmp_path, examples=100)) == []
