"""Fault injectors for the processors of transformers, which both engines use to preprocess media."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.patching import Function, change_result, wrap_function

Wrap = Callable[[Function], Function]
ProcessorPart = Literal["image_processor", "video_processor"]


def patch_vllm(part: ProcessorPart, method: str, wrap: Wrap) -> FaultInjector:
    """Return an injector that wraps a method of the processor behind vLLM's renderer."""

    def inject(backend: Any) -> AbstractContextManager[None]:
        processor = backend._renderer.get_mm_processor().info.get_hf_processor()
        return wrap_function(getattr(processor, part), method, wrap)

    return inject


def patch_lmdeploy(part: ProcessorPart, method: str, wrap: Wrap) -> FaultInjector:
    """Return an injector that wraps a method of the processor behind LMDeploy's model preprocessor."""

    def inject(backend: Any) -> AbstractContextManager[None]:
        processor = backend._frontend._processor.vl_encoder.model.processor
        return wrap_function(getattr(processor, part), method, wrap)

    return inject


def patch_both(part: ProcessorPart, method: str, wrap: Wrap) -> dict[str, FaultInjector]:
    """Return the injectors for both engines, by backend."""
    return {"vllm": patch_vllm(part, method, wrap), "lmdeploy": patch_lmdeploy(part, method, wrap)}


def change_argument(change: Callable[[Any], Any]) -> Wrap:
    """Return a wrapper that changes the media, the first argument of the method, positional or not."""

    def wrap(method: Function) -> Function:
        def changed(*args: Any, **kwargs: Any) -> Any:
            if args:
                return method(change(args[0]), *args[1:], **kwargs)
            first, *_ = kwargs
            return method(**{**kwargs, first: change(kwargs[first])})

        return changed

    return wrap


def change_return_value(change: Callable[[Any], Any]) -> Wrap:
    """Return a wrapper that changes the return value of the method."""
    return lambda method: lambda *args, **kwargs: change(method(*args, **kwargs))


def drop_seconds(backend: Any) -> AbstractContextManager[None]:
    """Drop ``second_per_grid_ts`` from the output of the processor in vLLM."""

    def drop(features: Any) -> Any:
        del features["second_per_grid_ts"]
        return features

    return change_result(backend._renderer.get_mm_processor(), "_call_hf_processor", drop)


def send_bytes_to_tower(_: Any) -> AbstractContextManager[None]:
    """Skip the normalization in vLLM's fused input module."""
    from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm

    return wrap_function(
        FusedMMInputNorm, "forward_native", lambda _: lambda _, pixels, dtype: pixels.to(dtype)
    )
