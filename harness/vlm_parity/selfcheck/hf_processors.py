"""Planters for the processors of transformers that both engines have their media made by."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.patching import Function, change_result, wrap_function

Wrap = Callable[[Function], Function]
ProcessorPart = Literal["image_processor", "video_processor"]


def patch_vllm(part: ProcessorPart, method: str, wrap: Wrap) -> FaultInjector:
    """A method of the processor that vLLM's renderer asks is another one."""

    def plant(backend: Any) -> AbstractContextManager[None]:
        processor = backend._renderer.get_mm_processor().info.get_hf_processor()
        return wrap_function(getattr(processor, part), method, wrap)

    return plant


def patch_lmdeploy(part: ProcessorPart, method: str, wrap: Wrap) -> FaultInjector:
    """A method of the processor that LMDeploy's preprocessor of the model asks is another one."""

    def plant(backend: Any) -> AbstractContextManager[None]:
        processor = backend._front_end._processor.vl_encoder.model.processor
        return wrap_function(getattr(processor, part), method, wrap)

    return plant


def patch_both(part: ProcessorPart, method: str, wrap: Wrap) -> dict[str, FaultInjector]:
    """The planters by engine."""
    return {"vllm": patch_vllm(part, method, wrap), "lmdeploy": patch_lmdeploy(part, method, wrap)}


def change_argument(change: Callable[[Any], Any]) -> Wrap:
    """The method is given other media: they come first, by their keyword or not."""

    def wrap(method: Function) -> Function:
        def changed(*args: Any, **named: Any) -> Any:
            if args:
                return method(change(args[0]), *args[1:], **named)
            first, *_ = named
            return method(**{**named, first: change(named[first])})

        return changed

    return wrap


def change_return_value(change: Callable[[Any], Any]) -> Wrap:
    """The method gives something else."""
    return lambda method: lambda *args, **named: change(method(*args, **named))


def drop_seconds(backend: Any) -> AbstractContextManager[None]:
    """vLLM loses the time between groups of frames behind the processor."""

    def lost(features: Any) -> Any:
        del features["second_per_grid_ts"]
        return features

    return change_result(backend._renderer.get_mm_processor(), "_call_hf_processor", lost)


def send_bytes_to_tower(_: Any) -> AbstractContextManager[None]:
    """vLLM's module leaves the normalisation out."""
    from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm

    return wrap_function(
        FusedMMInputNorm, "forward_native", lambda _: lambda _, pixels, dtype: pixels.to(dtype)
    )
