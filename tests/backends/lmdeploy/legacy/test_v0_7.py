"""Spans, placeholders and depth of LMDeploy before 0.12."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.backends.lmdeploy.legacy.v0_7 import Lmdeploy07, build_spans, get_placeholder_text
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import UnsupportedError


class Tokenizer:
    """A tokenizer whose entries are the numbers of the ids."""

    def convert_ids_to_tokens(self, token: int) -> str:
        return f"<{token}>"


def make_checkpoint(folder: Path, family: str) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps({"image_token_id": 7, "video_token_id": 8}))
    return Checkpoint(name=family, family=family, path=folder, source=str(folder), digest="")


def test_spans_follow_the_entries_regardless_of_the_ids() -> None:
    entries = [
        {"offset": 3, "image_tokens": 2, "image_token_id": 0},
        {"offset": 9, "image_tokens": 4, "image_token_id": 0},
    ]
    assert build_spans(entries) == (
        Span.of("image", 0, range(3, 5)),
        Span.of("image", 1, range(9, 13)),
    )
    assert build_spans([]) == ()


def test_the_placeholder_is_that_of_the_models_own_prompts(tmp_path: Path) -> None:
    assert get_placeholder_text(make_checkpoint(tmp_path, "qwen2_vl"), Tokenizer()) == "<7>"
    assert get_placeholder_text(make_checkpoint(tmp_path, "unknown"), Tokenizer()) is None


def test_depth_logits_is_not_supported(tmp_path: Path) -> None:
    backend = Lmdeploy07(Settings(depth=Depth.LOGITS))
    with pytest.raises(UnsupportedError, match=r"before 0\.12 .* --depth tokens"):
        backend.load(make_checkpoint(tmp_path, "qwen2_vl"))
