"""Planters that reach into the model that vLLM runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck import patching as plant
from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.util.errors import PrivateApiChangedError

Modules = list[Any]


def get_engine_model(backend: Any) -> Any:
    """The model, by vLLM's own ``LLM.apply_model``; the engine runs in this process."""
    (model,) = backend._engine.apply_model(lambda model: model)
    return model


def patch_modules(having: str, change: Callable[[ExitStack, Any], None], *, below: str) -> FaultInjector:
    """A planter that changes every module with a certain attribute.

    Args:
        having: the name of the attribute.
        change: gets the stack that takes the change back, and the module.
        below: the attribute of the model under which the modules lie: ``visual``, ``language_model``.
    """

    @contextmanager
    def planter(backend: Any) -> Iterator[None]:
        part = getattr(get_engine_model(backend), below)
        found = [module for module in part.modules() if hasattr(module, having)]
        if not found:
            raise PrivateApiChangedError(f"no module of {type(part).__name__} has the attribute {having}")
        with ExitStack() as stack:
            for module in found:
                change(stack, module)
            yield

    return planter


def wrap_method(name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> FaultInjector:
    """A planter that wraps a method of the model."""

    @contextmanager
    def planter(backend: Any) -> Iterator[None]:
        with plant.wrap_function(get_engine_model(backend), name, wrap):
            yield

    return planter


def patch_attention(change: Callable[[ExitStack, Any], None]) -> FaultInjector:
    """A planter that changes the implementation of every attention of the language model."""
    return patch_modules("impl", lambda stack, module: change(stack, module.impl), below="language_model")


def multiply_parameter(name: str, factor: float) -> Callable[[ExitStack, Any], None]:
    """A change: an attribute that is a number becomes another."""

    def change(stack: ExitStack, owner: Any) -> None:
        stack.enter_context(patch.object(owner, name, getattr(owner, name) * factor))

    return change


def replace_attribute(name: str, value: Any) -> Callable[[ExitStack, Any], None]:
    """A change: an attribute becomes something else."""

    def change(stack: ExitStack, owner: Any) -> None:
        stack.enter_context(patch.object(owner, name, value))

    return change


def change_rope_theta(theta: float) -> FaultInjector:
    """A planter that computes the rotary embedding from another base."""

    def change(stack: ExitStack, rotary: Any) -> None:
        with patch.object(rotary, "base", theta):
            table = rotary._compute_cos_sin_cache().to(rotary.cos_sin_cache.dtype)
        before = rotary.cos_sin_cache.clone()
        rotary.cos_sin_cache.copy_(table)
        stack.callback(lambda: rotary.cos_sin_cache.copy_(before))

    return patch_modules("cos_sin_cache", change, below="language_model")


def shift_cache_slots(shift: int) -> FaultInjector:
    """A planter that writes each new token's keys and values into a slot beside its own."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original = implementation.do_kv_cache_update

        def update(layer: Any, key: Any, value: Any, cache: Any, slots: Any) -> None:
            original(layer, key, value, cache, slots + shift if len(key) == 1 else slots)

        stack.enter_context(patch.object(implementation, "do_kv_cache_update", update))

    return patch_attention(change)


def scale_batched_logits(factor: float) -> FaultInjector:
    """A planter that has attention scale otherwise where more than one request is in the batch."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original, scale = implementation.forward, implementation.scale

        def forward(*args: Any, **named: Any) -> Any:
            metadata = args[5]  # layer, query, key, value, cache, metadata, ...
            several = metadata is not None and len(metadata.query_start_loc) > 2
            implementation.scale = scale * factor if several else scale
            return original(*args, **named)

        stack.enter_context(patch.object(implementation, "scale", scale))
        stack.enter_context(patch.object(implementation, "forward", forward))

    return patch_attention(change)


@contextmanager
def roll_late_chunks(backend: Any) -> Iterator[None]:
    """From the second chunk of a prompt on, the language model is given each embedding one row late."""

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        order = signature(forward)

        def rolled(*args: Any, **named: Any) -> Any:
            given = order.bind(*args, **named).arguments
            embeds = given.get("inputs_embeds")
            if embeds is not None and embeds.shape[0] > 1 and int(given["positions"].min()) > 0:
                given["inputs_embeds"] = embeds.roll(1, 0)
            return forward(**given)

        return rolled

    with wrap_method("forward", wrap)(backend):
        yield


@contextmanager
def keep_stale_blocks(backend: Any) -> Iterator[None]:
    """The prefix cache hands out the first block in the second one's place, too."""
    core = backend._engine.llm_engine.engine_core.engine_core
    manager = core.scheduler.kv_cache_manager
    original = manager.get_computed_blocks

    def stale(request: Any) -> Any:
        found, *more = original(request)
        groups = tuple(
            [*group[:1], *group[:1], *group[2:]] if len(group) > 1 else group for group in found.blocks
        )
        return type(found)(groups), *more

    with patch.object(manager, "get_computed_blocks", stale):
        yield


@contextmanager
def return_second_best(_: Any) -> Iterator[None]:
    """The greedy sampler takes the second most likely token, wherever there is one."""
    import torch
    from vllm.v1.sample.sampler import Sampler

    def greedy_sample(logits: Any) -> Any:
        values, tokens = logits.topk(2, dim=-1)
        forced = torch.isinf(values[:, 1])
        return torch.where(forced, tokens[:, 0], tokens[:, 1])

    with patch.object(Sampler, "greedy_sample", staticmethod(greedy_sample)):
        yield


@contextmanager
def make_tower_causal(backend: Any) -> Iterator[None]:
    """The vision tower's attention sees no later patch."""
    import torch

    original = torch.nn.functional.scaled_dot_product_attention
    inside: list[bool] = []

    def attention(*tensors: Any, **named: Any) -> Any:
        return original(*tensors, **({**named, "is_causal": True} if inside else named))

    def wrap(embed: Callable[..., Any]) -> Callable[..., Any]:
        def embedding(*args: Any, **named: Any) -> Any:
            inside.append(True)
            try:
                return embed(*args, **named)
            finally:
                inside.pop()

        return embedding

    with (
        patch.object(torch.nn.functional, "scaled_dot_product_attention", attention),
        wrap_method("embed_multimodal", wrap)(backend),
    ):
        yield
