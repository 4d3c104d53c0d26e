"""Fault injectors for the model in vLLM's engine, which runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.patching import order_heads_by_remainder, wrap_function
from vlm_parity.util.errors import PrivateApiChangedError

_ONE_REQUEST = 2
"""The length of ``query_start_loc`` for a batch of one request."""


def get_engine_model(backend: Any) -> Any:
    """Return the model of the engine, by ``LLM.apply_model`` of vLLM."""
    (model,) = backend._engine.apply_model(lambda model: model)
    return model


def patch_modules(attribute: str, change: Callable[[ExitStack, Any], None], *, below: str) -> FaultInjector:
    """Return an injector that changes every module with an attribute.

    Args:
        attribute: the name of the attribute.
        change: called with the stack that takes callbacks to undo the change, and the module.
        below: the part of the model to search: ``visual`` or ``language_model``.
    """

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        part = getattr(get_engine_model(backend), below)
        modules = [module for module in part.modules() if hasattr(module, attribute)]
        if not modules:
            raise PrivateApiChangedError(f"no module of {type(part).__name__} has the attribute {attribute}")
        with ExitStack() as stack:
            for module in modules:
                change(stack, module)
            yield

    return inject


def wrap_method(name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> FaultInjector:
    """Return an injector that wraps a method of the model."""

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        with wrap_function(get_engine_model(backend), name, wrap):
            yield

    return inject


def patch_attention(change: Callable[[ExitStack, Any], None]) -> FaultInjector:
    """Return an injector that changes the implementation of every attention layer of the language model."""
    return patch_modules("impl", lambda stack, module: change(stack, module.impl), below="language_model")


def multiply_parameter(name: str, factor: float) -> Callable[[ExitStack, Any], None]:
    """Return a change that multiplies a numeric attribute."""

    def change(stack: ExitStack, owner: Any) -> None:
        stack.enter_context(patch.object(owner, name, getattr(owner, name) * factor))

    return change


def replace_attribute(name: str, value: Any) -> Callable[[ExitStack, Any], None]:
    """Return a change that replaces an attribute."""

    def change(stack: ExitStack, owner: Any) -> None:
        stack.enter_context(patch.object(owner, name, value))

    return change


def group_heads_by_remainder() -> FaultInjector:
    """Return an injector that assigns query heads to the wrong key heads."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original = implementation.forward
        order = order_heads_by_remainder(implementation.num_heads, implementation.num_kv_heads)

        def forward(layer: Any, query: Any, *args: Any, output: Any, **kwargs: Any) -> Any:
            original(layer, query[:, order], *args, output=output, **kwargs)
            output[:, order] = output.clone()
            return output

        stack.enter_context(patch.object(implementation, "forward", forward))

    return patch_attention(change)


def change_rope_theta(theta: float) -> FaultInjector:
    """Return an injector that computes the rotary embedding from another base."""

    def change(stack: ExitStack, rotary: Any) -> None:
        with patch.object(rotary, "base", theta):
            table = rotary._compute_cos_sin_cache().to(rotary.cos_sin_cache.dtype)
        before = rotary.cos_sin_cache.clone()
        rotary.cos_sin_cache.copy_(table)
        stack.callback(lambda: rotary.cos_sin_cache.copy_(before))

    return patch_modules("cos_sin_cache", change, below="language_model")


def shift_cache_slots(shift: int) -> FaultInjector:
    """Return an injector that writes the keys and values of each new token into another cache slot."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original = implementation.do_kv_cache_update

        def update(layer: Any, key: Any, value: Any, cache: Any, slots: Any) -> None:
            original(layer, key, value, cache, slots + shift if len(key) == 1 else slots)

        stack.enter_context(patch.object(implementation, "do_kv_cache_update", update))

    return patch_attention(change)


def scale_batched_logits(factor: float) -> FaultInjector:
    """Return an injector that changes the attention scale if the batch holds more than one request."""

    def change(stack: ExitStack, implementation: Any) -> None:
        original, scale = implementation.forward, implementation.scale

        def forward(*args: Any, **kwargs: Any) -> Any:
            metadata = args[5]  # layer, query, key, value, cache, metadata, ...
            is_batch = metadata is not None and len(metadata.query_start_loc) > _ONE_REQUEST
            implementation.scale = scale * factor if is_batch else scale
            return original(*args, **kwargs)

        stack.enter_context(patch.object(implementation, "scale", scale))
        stack.enter_context(patch.object(implementation, "forward", forward))

    return patch_attention(change)


@contextmanager
def roll_late_chunks(backend: Any) -> Iterator[None]:
    """Shift the input embeddings of the language model by one row from the second chunk of a prompt on."""

    def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
        parameters = signature(forward)

        def rolled(*args: Any, **kwargs: Any) -> Any:
            arguments = parameters.bind(*args, **kwargs).arguments
            embeds = arguments.get("inputs_embeds")
            if embeds is not None and embeds.shape[0] > 1 and int(arguments["positions"].min()) > 0:
                arguments["inputs_embeds"] = embeds.roll(1, 0)
            return forward(**arguments)

        return rolled

    with wrap_method("forward", wrap)(backend):
        yield


@contextmanager
def keep_stale_blocks(backend: Any) -> Iterator[None]:
    """Return the first block of the prefix cache in place of the second one."""
    core = backend._engine.llm_engine.engine_core.engine_core
    manager = core.scheduler.kv_cache_manager
    original = manager.get_computed_blocks

    def get_stale_blocks(request: Any) -> Any:
        computed, *rest = original(request)
        groups = tuple(
            [*group[:1], *group[:1], *group[2:]] if len(group) > 1 else group for group in computed.blocks
        )
        return type(computed)(groups), *rest

    with patch.object(manager, "get_computed_blocks", get_stale_blocks):
        yield


@contextmanager
def leave_media_out_of_block_keys(_: Any) -> Iterator[None]:
    """Key the blocks of the prefix cache by their ids alone, whatever the media are."""
    from vllm.v1.core import kv_cache_utils

    def omit(_request: Any, _start: int, _end: int, start_mm_index: int) -> Any:
        return [], start_mm_index

    with patch.object(kv_cache_utils, "_gen_mm_extra_hash_keys", omit):
        yield


@contextmanager
def return_second_best(_: Any) -> Iterator[None]:
    """Sample the second most likely token if there is one."""
    import torch
    from vllm.v1.sample.sampler import Sampler

    def greedy_sample(logits: Any) -> Any:
        values, tokens = logits.topk(2, dim=-1)
        forced = torch.isinf(values[:, 1])
        return torch.where(forced, tokens[:, 0], tokens[:, 1])

    with patch.object(Sampler, "greedy_sample", staticmethod(greedy_sample)):
        yield


@contextmanager
def make_vision_attention_causal(backend: Any) -> Iterator[None]:
    """Mask the attention of the vision tower causally."""
    import torch

    original = torch.nn.functional.scaled_dot_product_attention
    inside: list[bool] = []

    def attention(*tensors: Any, **kwargs: Any) -> Any:
        return original(*tensors, **({**kwargs, "is_causal": True} if inside else kwargs))

    def wrap(embed: Callable[..., Any]) -> Callable[..., Any]:
        def embedding(*args: Any, **kwargs: Any) -> Any:
            inside.append(True)
            try:
                return embed(*args, **kwargs)
            finally:
                inside.pop()

        return embedding

    with (
        patch.object(torch.nn.functional, "scaled_dot_product_attention", attention),
        wrap_method("embed_multimodal", wrap)(backend),
    ):
        yield
