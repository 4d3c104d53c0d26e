"""Faults in one module of a loaded engine, each with the module that has to be named.

They are forward hooks, so they need no private name of an engine but that of the module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlm_parity.capture.protocol import InjectedFault
from vlm_parity.diagnosis import module_causes as causes
from vlm_parity.selfcheck import lmdeploy_model, vllm_model
from vlm_parity.util.errors import PrivateApiChangedError

if TYPE_CHECKING:
    import torch

Change = Callable[["torch.Tensor"], "torch.Tensor"]
_GET_MODEL: Mapping[str, Callable[[Any], Any]] = {
    "lmdeploy": lmdeploy_model.get_engine_model,
    "vllm": vllm_model.get_engine_model,
}
CASES: Mapping[str, Mapping[str, str]] = {
    "lmdeploy": {
        **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"), "one_image"),
        "glm4v": "text_only",  # its tower adds an uninitialized bias, see docs/results/findings.md
    },
    "vllm": dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "llava_onevision"), "one_image"),
}
"""By backend and family, a case for which both sides have the same ids."""
_TOWER = r"(visual|vision_tower)\..*(blocks|layers?)\."


@dataclass(frozen=True)
class ModuleFault:
    """A change of the output of one module."""

    name: str
    module: str
    """Pattern of the engine's name of the module; the first that ends with it is changed."""
    change: Change
    expected: str
    """Pattern of the reference's module, with the point at which it differs."""
    cause: str
    """One of ``vlm_parity.diagnosis.module_causes``."""
    needs_image: bool = True
    """True for a module of the tower or of the projector."""


def _scale(rows: torch.Tensor) -> torch.Tensor:
    return rows * 1.01


def _scale_columns(rows: torch.Tensor) -> torch.Tensor:
    """Multiply each column by a factor of its own, as other weights of a norm do."""
    import torch

    factors = torch.linspace(0.98, 1.02, rows.shape[-1], dtype=rows.dtype, device=rows.device)
    return rows * factors


def _scale_rows(rows: torch.Tensor) -> torch.Tensor:
    """Multiply each row by a factor of its own, as another epsilon of a norm does."""
    sizes = rows.float().square().mean(dim=-1, keepdim=True)
    return rows * (1 - 0.01 / (1 + sizes)).to(rows.dtype)


def _offset(rows: torch.Tensor) -> torch.Tensor:
    """Add the same vector to each row, as another bias does."""
    import torch

    size = rows.float().square().mean().sqrt()
    vector = torch.linspace(-1, 1, rows.shape[-1], device=rows.device) * size * 0.02
    return rows + vector.to(rows.dtype)


def _offset_first_columns(rows: torch.Tensor) -> torch.Tensor:
    """Change the bias of the first part of a fused projection."""
    changed = rows.clone()
    columns = rows.shape[-1] // 4
    changed[..., :columns] = _offset(rows[..., :columns])
    return changed


def _swap_halves(rows: torch.Tensor) -> torch.Tensor:
    """Exchange the two parts of a fused projection."""
    return rows.roll(rows.shape[-1] // 2, dims=-1)


FAULTS = (
    ModuleFault(
        "another bias of the output projection",
        r"layers\.0\.self_attn\.o_proj",
        _offset,
        r"layers\.0\.self_attn\.o_proj output",
        causes.BIAS,
        needs_image=False,
    ),
    ModuleFault(
        "another bias of the queries",
        r"layers\.1\.self_attn\.qkv_proj",
        _offset_first_columns,
        r"layers\.1\.self_attn\.q_proj output",
        causes.BIAS,
        needs_image=False,
    ),
    ModuleFault(
        "gate and up projection exchanged",
        r"layers\.0\.mlp\.gate_up_proj",
        _swap_halves,
        r"layers\.0\.mlp\.(act_fn|activation_fn) output",
        causes.ACTIVATION,
        needs_image=False,
    ),
    ModuleFault(
        "another weight of a norm",
        r"layers\.1\.post_attention_layernorm",
        _scale_columns,
        r"layers\.1\.post_attention_layernorm output",
        causes.NORM_WEIGHTS,
        needs_image=False,
    ),
    ModuleFault(
        "another weight of a norm of the tower",
        _TOWER + r"1\.(norm1|layer_norm1|layernorm_before)",
        _scale_columns,
        r"\.1\.(norm1|layer_norm1|layernorm_before) output",
        causes.NORM_WEIGHTS,
    ),
    ModuleFault(
        "another epsilon of a norm of the tower",
        _TOWER + r"0\.(norm2|layer_norm2|layernorm_after)",
        _scale_rows,
        r"\.0\.(norm2|layer_norm2|layernorm_after) output",
        causes.NORM_EPSILON,
    ),
    ModuleFault(
        "another bias of the tower's attention",
        _TOWER + r"0\.(attn\.proj|self_attn\.out_proj|attention\.projection_layer)",
        _offset,
        r"\.0\.(attn\.proj|self_attn\.out_proj|attention\.projection_layer) output",
        causes.BIAS,
    ),
    ModuleFault(
        "a projection of the tower scaled",
        _TOWER + r"1\.mlp\.(fc2|linear_fc2|down_proj)",
        _scale,
        r"\.1\.mlp\.(fc2|linear_fc2|down_proj) output",
        causes.PROJECTION,
    ),
    ModuleFault(
        "another bias of the projector",
        r"merger\.(mlp\.2|linear_fc2)|multi_modal_projector\.linear_2",
        _offset,
        r"(merger\.(mlp\.2|linear_fc2)|multi_modal_projector\.linear_2) output",
        causes.BIAS,
    ),
)


def select_module_faults(faults: Iterable[ModuleFault], case: str) -> tuple[ModuleFault, ...]:
    """Return the faults that a case can show."""
    return tuple(fault for fault in faults if case != "text_only" or not fault.needs_image)


def build_module_fault(fault: ModuleFault) -> InjectedFault:
    """Return the reference to a fault that a capture request carries."""
    return InjectedFault(target=f"{__name__}:{inject_module_fault.__name__}", name=fault.name)


@contextmanager
def inject_module_fault(backend: Any, name: str) -> Iterator[None]:
    """Run a loaded engine with a fault until the block ends.

    Raises:
        PrivateApiChangedError: the model has no such module.
    """
    fault = next(fault for fault in FAULTS if fault.name == name)
    pattern = re.compile(rf"(.*\.)?({fault.module})")
    model = _GET_MODEL[backend.name](backend)
    module = next((module for path, module in model.named_modules() if pattern.fullmatch(path)), None)
    if module is None:
        raise PrivateApiChangedError(f"{type(model).__name__} has no module {fault.module}")

    def change(_module: Any, _args: Any, result: Any) -> Any:
        if isinstance(result, tuple):
            return fault.change(result[0]), *result[1:]
        return fault.change(result)

    hook = module.register_forward_hook(change)
    try:
        yield
    finally:
        hook.remove()
