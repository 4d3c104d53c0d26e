"""Faults in the position ids of the rotary embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.vllm_model import wrap_method

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def _use_text_positions(_: Callable[..., Any]) -> Callable[..., Any]:
    def positions(input_tokens: list[int], *_: Any, **__: Any) -> Any:
        import torch

        return torch.arange(len(input_tokens))[None].expand(3, -1).contiguous(), 0

    return positions


def _continue_from_token_count(original: Callable[..., Any]) -> Callable[..., Any]:
    """Continue text after an image from its token count, not from its largest position."""

    def positions(input_tokens: list[int], *args: Any, **kwargs: Any) -> Any:
        import torch

        mrope, _ = original(input_tokens, *args, **kwargs)
        plain = torch.arange(len(input_tokens))
        tail = (plain - mrope == plain[-1] - mrope[:, -1:]).all(dim=0)
        mrope[:, tail] = plain[tail]
        return mrope, 0

    return positions


FAULTS: tuple[Fault, ...] = (
    Fault(
        "mrope replaced by text positions",
        Stage.POSITIONS,
        "mrope replaced by text positions",
        {"vllm": wrap_method("get_mrope_input_positions", _use_text_positions)},
        _QWEN,
        ("one_image",),
    ),
    Fault(
        "text positions after an image continue from its token count",
        Stage.POSITIONS,
        "text position after media differs",
        {"vllm": wrap_method("get_mrope_input_positions", _continue_from_token_count)},
        ("qwen2_5_vl",),
        ("one_image",),
    ),
)
