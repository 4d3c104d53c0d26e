"""Blocks are the items of a model's lists."""

from __future__ import annotations

import pytest

from vlm_parity.backends.common.module_blocks import find_block


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("model.layers.3.mlp.act_fn", "model.layers.3"),
        ("model.layers.3", None),
        ("model.layers.3.mlp.experts.7.up_proj", "model.layers.3"),
        ("model.norm", None),
        ("visual.merger.mlp.0", None),
        ("", None),
    ],
)
def test_a_module_is_inside_of_the_first_numbered_one(module: str, block: str | None) -> None:
    assert find_block(module) == block
