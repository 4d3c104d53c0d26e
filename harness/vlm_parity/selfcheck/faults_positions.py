"""Faults in the positions that the rotary embedding is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.vllm_model import wrap_method

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def _text_positions(_: Callable[..., Any]) -> Callable[..., Any]:
    def positions(input_tokens: list[int], *_: Any, **__: Any) -> Any:
        import torch

        return torch.arange(len(input_tokens))[None].expand(3, -1).contiguous(), 0

    return positions


def _text_counts_patches(original: Callable[..., Any]) -> Callable[..., Any]:
    """After a picture, text goes on from the number of its tokens, not from its largest position."""

    def positions(input_tokens: list[int], *more: Any, **named: Any) -> Any:
        import torch

        found, _ = original(input_tokens, *more, **named)
        plain = torch.arange(len(input_tokens))
        tail = (plain - found == plain[-1] - found[:, -1:]).all(dim=0)
        found[:, tail] = plain[tail]
        return found, 0

    return positions


FAULTS: tuple[Fault, ...] = (
    Fault(
        "mrope replaced by text positions",
        Stage.POSITIONS,
        "mrope replaced by text positions",
        {"vllm": wrap_method("get_mrope_input_positions", _text_positions)},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "text after a picture goes on from the number of its tokens",
        Stage.POSITIONS,
        "text position after media differs",
        {"vllm": wrap_method("get_mrope_input_positions", _text_counts_patches)},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
)
