"""Planters for the processors of transformers that both engines have their media made by."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

from vlm_parity.selfcheck.fault import Planter
from vlm_parity.selfcheck.patching import Function, result_changed, wrapped

Wrap = Callable[[Function], Function]
Part = Literal["image_processor", "video_processor"]


def in_vllm(part: Part, method: str, wrap: Wrap) -> Planter:
    """A method of the processor that vLLM's renderer asks is another one."""

    def plant(backend: Any) -> AbstractContextManager[None]:
        processor = backend._renderer.get_mm_processor().info.get_hf_processor()
        return wrapped(getattr(processor, part), method, wrap)

    return plant


def in_lmdeploy(part: Part, method: str, wrap: Wrap) -> Planter:
    """A method of the processor that LMDeploy's preprocessor of the model asks is another one."""

    def plant(backend: Any) -> AbstractContextManager[None]:
        processor = backend._front_end._processor.vl_encoder.model.processor
        return wrapped(getattr(processor, part), method, wrap)

    return plant


def in_both(part: Part, method: str, wrap: Wrap) -> dict[str, Planter]:
    """The planters by engine."""
    return {"vllm": in_vllm(part, method, wrap), "lmdeploy": in_lmdeploy(part, method, wrap)}


def given(change: Callable[[Any], Any]) -> Wrap:
    """The method is given other media: they come first, by their keyword or not."""

    def wrap(method: Function) -> Function:
        def changed(*args: Any, **named: Any) -> Any:
            if args:
                return method(change(args[0]), *args[1:], **named)
            first, *_ = named
            return method(**{**named, first: change(named[first])})

        return changed

    return wrap


def giving(change: Callable[[Any], Any]) -> Wrap:
    """The method gives something else."""
    return lambda method: lambda *args, **named: change(method(*args, **named))


def without_seconds(backend: Any) -> AbstractContextManager[None]:
    """vLLM loses the time between groups of frames behind the processor."""

    def lost(features: Any) -> Any:
        del features["second_per_grid_ts"]
        return features

    return result_changed(backend._renderer.get_mm_processor(), "_call_hf_processor", lost)


def bytes_to_the_tower(_: Any) -> AbstractContextManager[None]:
    """vLLM's module leaves the normalisation out."""
    from vllm.model_executor.layers.fusion.mm_input_norm import FusedMMInputNorm

    return wrapped(FusedMMInputNorm, "forward_native", lambda _: lambda _, pixels, dtype: pixels.to(dtype))
