"""Fault injectors for the model in LMDeploy's PyTorch engine, which runs in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.patching import (
    Function,
    change_result,
    order_heads_by_remainder,
    wrap_function,
)
from vlm_parity.util.errors import PrivateApiChangedError


def get_engine_model(backend: Any) -> Any:
    """Return the model of the pipeline's model agent."""
    return backend._pipeline.async_engine.engine.executor.model_agent.patched_model.get_model()


def get_tower(model: Any) -> Any:
    """Return the vision tower."""
    return model.visual


def get_language_model(model: Any) -> Any:
    """Return the language model; older architectures call it ``model``."""
    return getattr(model, "language_model", None) or model.model


def patch_implementations(
    attribute: str, change: Callable[[ExitStack, Any], None], part: Callable[[Any], Any]
) -> FaultInjector:
    """Return an injector that changes the implementation of every operator with an attribute.

    Args:
        attribute: the name of the attribute.
        change: called with the stack that takes callbacks to undo the change, and the implementation.
        part: selects the part of the model to search.
    """

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        # A rotary embedding without mrope is its own implementation.
        implementations = [
            getattr(module, "impl", module) for module in part(get_engine_model(backend)).modules()
        ]
        matching = {id(each): each for each in implementations if hasattr(each, attribute)}.values()
        if not matching:
            raise PrivateApiChangedError(
                f"the model of LMDeploy has no operator with the attribute {attribute}"
            )
        with ExitStack() as stack:
            for implementation in matching:
                change(stack, implementation)
            yield

    return inject


def group_heads_by_remainder() -> FaultInjector:
    """Return an injector that assigns query heads to the wrong key heads."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original = implementation.forward
        order = order_heads_by_remainder(implementation.num_heads, implementation.num_kv_heads)

        def forward(query: Any, *args: Any, **kwargs: Any) -> Any:
            grouped = original(query[:, order], *args, **kwargs)
            output = grouped.clone()
            output[:, order] = grouped
            return output

        stack.enter_context(patch.object(implementation, "forward", forward))

    return patch_implementations("v_head_size", change, get_language_model)


def change_rope_theta(theta: float) -> FaultInjector:
    """Return an injector that computes the rotary embedding from another base.

    An inverse frequency is base ** (-i / count), so changing the base raises it to a power.
    """

    def change(stack: ExitStack, rotary: Any) -> None:
        original = float(rotary.inv_freq[1]) ** -len(rotary.inv_freq)
        changed = rotary.inv_freq ** (math.log(theta) / math.log(original))
        stack.enter_context(patch.object(rotary, "inv_freq", changed))

    return patch_implementations("inv_freq", change, get_language_model)


def change_logits(change: Callable[[Any], Any]) -> FaultInjector:
    """Return an injector that changes the logits."""

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        with change_result(get_engine_model(backend), "get_logits", change):
            yield

    return inject


def change_features(change: Callable[[Any], Any]) -> FaultInjector:
    """Return an injector that changes the output of the vision tower, [embedded positions, hidden]."""

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        def changed(_: Any, __: Any, features: Any) -> Any:
            if isinstance(features, tuple):  # followed by the features of deeper layers
                return change(features[0]), *features[1:]
            return change(features)

        hook = get_tower(get_engine_model(backend)).register_forward_hook(changed)
        try:
            yield
        finally:
            hook.remove()

    return inject


@contextmanager
def drop_deep_features(backend: Any) -> Iterator[None]:
    """Hand no features to the deeper layers of the language model."""
    hook = get_tower(get_engine_model(backend)).register_forward_hook(
        lambda _, __, features: (features[0], [])
    )
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def shift_cache_slots(_: Any) -> Iterator[None]:
    """Write the keys and values of each new token one slot too late."""
    from vlm_parity.backends.lmdeploy.cpu import ops

    write = ops.__dict__["write_pages"]

    def write_late(cache: Any, blocks: Any, start: int, new: Any) -> None:
        write(cache, blocks, start + (len(new) == 1), new)

    with patch.object(ops, "write_pages", write_late):
        yield


@contextmanager
def return_second_best(_: Any) -> Iterator[None]:
    """Sample the second most likely token if there is one and the request is greedy."""
    import torch
    from lmdeploy.pytorch.engine.logits_process import FusedLogitsProcessor

    def wrap(original: Function) -> Function:
        def sampling(self: Any, logits: Any) -> Any:
            if self.sampling_inputs.max_top_k != 1:
                return original(self, logits)
            values, tokens = logits.topk(2, dim=-1)
            return torch.where(torch.isinf(values[:, 1]), tokens[:, 0], tokens[:, 1])

        return sampling

    with wrap_function(FusedLogitsProcessor, "sampling", wrap):
        yield
