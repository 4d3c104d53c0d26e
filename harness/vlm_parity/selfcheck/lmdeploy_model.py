"""Planters that reach into the model that LMDeploy's PyTorch engine runs in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck import patching as plant
from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.util.errors import PrivateApiChangedError


def get_engine_model(backend: Any) -> Any:
    """The model behind the pipeline's model agent."""
    return backend._pipeline.async_engine.engine.executor.model_agent.patched_model.get_model()


def get_tower(model: Any) -> Any:
    """The vision tower."""
    return model.visual


def get_language_model(model: Any) -> Any:
    """What is left of the model: newer architectures call it by its name."""
    return getattr(model, "language_model", None) or model.model


def patch_implementations(
    having: str, change: Callable[[ExitStack, Any], None], part: Callable[[Any], Any]
) -> FaultInjector:
    """A planter that changes the implementation of every operator with a certain attribute."""

    @contextmanager
    def planter(backend: Any) -> Iterator[None]:
        owners = [getattr(module, "impl", None) for module in part(get_engine_model(backend)).modules()]
        found = [owner for owner in owners if hasattr(owner, having)]
        if not found:
            raise PrivateApiChangedError(f"LMDeploy's model has no operator with the attribute {having}")
        with ExitStack() as stack:
            for owner in found:
                change(stack, owner)
            yield

    return planter


def change_rope_theta(theta: float, right: float) -> FaultInjector:
    """A planter that has the rotary embedding turn as from another base.

    An inverse frequency is base ** (-2 i / size), so another base is another power of it.
    """

    def change(stack: ExitStack, rotary: Any) -> None:
        turned = rotary.inv_freq ** (math.log(theta) / math.log(right))
        stack.enter_context(patch.object(rotary, "inv_freq", turned))

    return patch_implementations("inv_freq", change, get_language_model)


def change_logits(change: Callable[[Any], Any]) -> FaultInjector:
    """A planter that changes what the head gives."""

    @contextmanager
    def planter(backend: Any) -> Iterator[None]:
        with plant.change_result(get_engine_model(backend), "get_logits", change):
            yield

    return planter


def change_features(change: Callable[[Any], Any]) -> FaultInjector:
    """A planter that changes what the vision tower gives: [embedded positions, hidden]."""

    @contextmanager
    def planter(backend: Any) -> Iterator[None]:
        def changed(_: Any, __: Any, features: Any) -> Any:
            if isinstance(features, tuple):  # features of deeper layers come along
                return change(features[0]), *features[1:]
            return change(features)

        hook = get_tower(get_engine_model(backend)).register_forward_hook(changed)
        try:
            yield
        finally:
            hook.remove()

    return planter


@contextmanager
def shift_cache_slots(_: Any) -> Iterator[None]:
    """Each new token's keys and values are written one place behind their own."""
    from vlm_parity.backends.lmdeploy.cpu import ops

    write = ops.__dict__["write_pages"]

    def late(cache: Any, blocks: Any, start: int, new: Any) -> None:
        write(cache, blocks, start + (len(new) == 1), new)

    with patch.object(ops, "write_pages", late):
        yield
