"""The redirections with which LMDeploy's PyTorch engine runs on the CPU: one table, with a reason for each.

They move data and select devices. No model file is changed, so LMDeploy's own code computes the models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from typing import Any

from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.schema.engine_setup import Depth


@dataclass(frozen=True)
class Redirection:
    """One name whose value is replaced while the engine runs on the CPU."""

    target: PrivateApi
    reason: str
    replace: Callable[[Any], Any]
    """Maps the original value to the new one."""
    depth: Depth = Depth.LOGITS
    """The lowest depth that needs it."""


def _select_cpu_backend(original: Callable[[], Any]) -> Callable[[], Any]:
    from lmdeploy.pytorch.devices import get_device_manager

    from vlm_parity.backends.lmdeploy.cpu.ops import CpuOpsBackend

    @wraps(original)
    def select() -> Any:
        on_cpu = get_device_manager().current_context().device_type == "cpu"
        return CpuOpsBackend if on_cpu else original()

    return select


def _set_cpu_device(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.device = "cpu"

    return init


def _stay_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def move(val: Any, non_blocking: bool = False) -> Any:
        return val.to_device("cpu", non_blocking=non_blocking) if hasattr(val, "to_device") else val

    return move


def _allocate_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def allocate(*args: Any, device: Any, **kwargs: Any) -> Any:
        return original(*args, device="cpu" if device == "cuda" else device, **kwargs)

    return allocate


def _resolve_any_dtype(original: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    @wraps(original)
    def resolve(hf_config: Any, backend_config: Any) -> Any:
        dtype = backend_config.dtype
        return original(hf_config, backend_config) if dtype == "auto" else getattr(torch, dtype)

    return resolve


def _return_constant(value: Any) -> Callable[[Any], Any]:
    return lambda _original: value


def _redirect_cuda(name: str, reason: str, replace: Callable[[Any], Any]) -> Redirection:
    return Redirection(PrivateApi("torch.cuda", name), reason, replace)


_ENGINE = "lmdeploy.pytorch.engine"
_NO_STREAMS_REASON = (
    "the engine orders its work by CUDA streams and events; on a CPU all work is done in order"
)


def _list_redirections() -> tuple[Redirection, ...]:
    import psutil
    import torch

    class Stream(torch.cpu.Stream):  # type: ignore[misc]
        """PyTorch's own substitute, with the one method that it lacks."""

        def query(self) -> bool:
            return True

    current = Stream()

    def get_memory(_device: Any = None) -> tuple[int, int]:
        memory = psutil.virtual_memory()  # the file cache counts as available
        return memory.available, memory.total

    return (
        Redirection(
            PrivateApi("lmdeploy.pytorch.backends.selector", "_get_backend"),
            "there is no operator backend for a CPU: LMDeploy's default operators are used, with attention "
            "in plain PyTorch",
            _select_cpu_backend,
        ),
        Redirection(
            PrivateApi(f"{_ENGINE}.model_agent.agent", "BaseModelAgent.__init__", ("self", "model_path")),
            "the device of the model is hard-coded to cuda",
            _set_cpu_device,
        ),
        Redirection(
            PrivateApi(f"{_ENGINE}.model_agent.agent", "_try_to_cuda", ("val", "non_blocking")),
            "the inputs of a step are sent to cuda by name",
            _stay_on_cpu,
        ),
        Redirection(
            PrivateApi(
                f"{_ENGINE}.cache_engine.plan",
                "BlockCachePlan.allocate",
                ("num_logical_blocks", "device"),
            ),
            "the key/value cache is allocated on cuda by name",
            _allocate_on_cpu,
        ),
        Redirection(
            PrivateApi(
                f"{_ENGINE}.cache_engine.state",
                "_allocate_state_caches",
                ("num_caches", "device"),
            ),
            "the caches of state-space layers are allocated on cuda by name",
            _allocate_on_cpu,
        ),
        Redirection(
            PrivateApi("lmdeploy.vl.engine", "_resolve_mm_feature_dtype", ("hf_config", "backend_config")),
            "the dtype of pixel values cannot be float32, and a GPU is queried for bfloat16",
            _resolve_any_dtype,
            Depth.TOKENS,
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.configurations.qwen3_5", "is_bf16_supported", ("device_type",)),
            "a GPU is queried for bfloat16; a CPU supports it",
            _return_constant(lambda device_type="cuda": True),  # noqa: ARG005
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.envs", "enable_check_env"),
            "the check of the environment runs on cuda",
            _return_constant(False),
        ),
        Redirection(
            PrivateApi("lmdeploy.pytorch.envs", "skip_warmup"),
            "the warm-up runs on cuda",
            _return_constant(True),
        ),
        _redirect_cuda("Stream", _NO_STREAMS_REASON, _return_constant(Stream)),
        _redirect_cuda("Event", _NO_STREAMS_REASON, _return_constant(torch.cpu.Event)),
        _redirect_cuda("stream", _NO_STREAMS_REASON, _return_constant(contextlib.nullcontext)),
        _redirect_cuda(
            "current_stream",
            _NO_STREAMS_REASON,
            _return_constant(lambda device=None: current),  # noqa: ARG005
        ),
        _redirect_cuda("synchronize", _NO_STREAMS_REASON, _return_constant(torch.cpu.synchronize)),
        _redirect_cuda(
            "current_device", "the engine reads the index of its GPU", _return_constant(lambda: 0)
        ),
        _redirect_cuda(
            "mem_get_info", "the engine reads the memory of its GPU", _return_constant(get_memory)
        ),
    )


_PRIVATE_APIS = (
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "PagedAttentionBuildSpec",
        (
            *("num_heads", "head_dim", "scale", "num_kv_heads", "v_head_dim", "alibi", "sliding_window"),
            *("logit_softcapping", "causal", "use_flash_mla", "mla_index_topk", "block_sparse_size"),
        ),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "AttentionImpl.forward",
        ("query", "key", "value", "k_cache", "v_cache", "attn_metadata", "learnable_sink", "nsa_indices"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.attention",
        "AttentionMetadata",
        ("block_offsets", "q_seqlens", "kv_seqlens", "cu_seqlens_q", "cu_seqlens_k", "quant_policy"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.flash_attention",
        "FlashAttentionBuildSpec",
        ("head_dim", "scale", "v_head_dim", "causal", "sliding_window", "logit_softcapping"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.flash_attention",
        "FlashAttentionImpl.forward",
        ("q_start_loc", "q_seqlens", "kv_start_loc", "kv_seqlens", "max_q_seqlen"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.default.op_backend",
        "DefaultOpsBackend.build_op",
        ("spec", "enable_deterministic"),
    ),
    PrivateApi(
        "lmdeploy.pytorch.backends.default.op_backend",
        "DefaultOpsBackend.update_step_context",
        ("step_context",),
    ),
    PrivateApi("lmdeploy.pytorch.devices", "get_device_manager"),
    PrivateApi("lmdeploy.messages", "QuantPolicy.NONE"),
)
"""The names on which ``ops`` depends."""


def apply_redirections(redirections: Sequence[Redirection], stack: ExitStack) -> list[str]:
    """Apply redirections until the stack is closed.

    Args:
        redirections: to apply, in order.
        stack: its exit restores the original values.

    Returns:
        A note for each reason, with the redirected names.

    Raises:
        PrivateApiChangedError: a name is gone or has changed; nothing is redirected then.
    """
    located = [(redirection, *redirection.target.find()) for redirection in redirections]
    for redirection, holder, name, original in located:
        setattr(holder, name, redirection.replace(original))
        stack.callback(setattr, holder, name, original)
    return [f"{', '.join(names)}: {reason}" for reason, names in _group_by_reason(redirections).items()]


def redirect_to_cpu(stack: ExitStack, depth: Depth) -> list[str]:
    """Apply all redirections that a depth needs until the stack is closed.

    Args:
        stack: its exit restores the original values.
        depth: ``tokens`` for the frontend alone, ``logits`` for the whole engine.

    Returns:
        A note for each reason, with the redirected names.

    Raises:
        PrivateApiChangedError: a name is gone or has changed; nothing is redirected then.
    """
    import torch

    for private_api in _PRIVATE_APIS if depth is Depth.LOGITS else ():
        private_api.find()
    needed = [row for row in _list_redirections() if depth is Depth.LOGITS or row.depth is depth]
    notes = apply_redirections(needed, stack)
    if depth is Depth.LOGITS:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        notes.append("torch.compile: off; it takes minutes on a CPU and computes the same")
    return notes


def _group_by_reason(redirections: Sequence[Redirection]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for redirection in redirections:
        reasons.setdefault(redirection.reason, []).append(str(redirection.target))
    return reasons
