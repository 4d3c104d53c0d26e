"""Faults for LMDeploy's front end: its template, its messages, its tokenizer, its image processors.

Those of the image processors are for Qwen2-VL and Qwen2.5-VL: LMDeploy has Qwen3-VL's ids made by
transformers' own processor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from vlm_parity.selfcheck.fault import FaultInjector
from vlm_parity.selfcheck.message_edits import Messages
from vlm_parity.selfcheck.patching import Function, change_result, wrap_function


def change_template(change: Callable[[str], str]) -> FaultInjector:
    """The chat template is another one."""

    def plant(backend: Any) -> AbstractContextManager[Any]:
        tokenizer = _processor(backend).chat_template.tokenizer
        return patch.object(tokenizer, "chat_template", change(tokenizer.chat_template))

    return plant


def change_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """The conversation is another one once LMDeploy has parsed it."""

    def wrap(original: Function) -> Function:
        async def parse(*args: Any, **options: Any) -> Messages:
            return change(await original(*args, **options))

        return parse

    return lambda backend: wrap_function(_processor(backend), "async_parse_multimodal_item", wrap)


def change_rendered_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """The conversation is another one when it comes to the chat template."""

    def wrap(original: Function) -> Function:
        return lambda messages, **options: original(change(messages), **options)

    return lambda backend: wrap_function(_processor(backend).chat_template, "messages2prompt", wrap)


def change_ids(change: Callable[[list[int], Any], list[int]], *, first: bool = False) -> FaultInjector:
    """The tokenizer gives other ids, before placeholders are expanded; ``change`` is given it too.

    LMDeploy encodes the text between media piece by piece; ``first``: only the one that starts the prompt.
    """

    def plant(backend: Any) -> AbstractContextManager[None]:
        tokenizer = _processor(backend).tokenizer

        def wrap(original: Function) -> Function:
            def encode(text: str, add_bos: bool = True, **options: Any) -> list[int]:
                ids: list[int] = original(text, add_bos=add_bos, **options)
                return change(ids, tokenizer.model.model) if add_bos or not first else ids

            return encode

        return wrap_function(tokenizer, "encode", wrap)

    return plant


def reverse_media(backend: Any) -> AbstractContextManager[None]:
    """The media are given to the placeholders from the last to the first."""
    return change_result(_model(backend), "collect_multimodal_items", lambda items: items[::-1])


def replace_image_with_pad(backend: Any) -> AbstractContextManager[Any]:
    """The image token's id is the pad token's, by the function that gave it for all models once."""
    model = _model(backend)
    pad = model.get_pad_token_id(model.model_path, model.hf_config)
    return patch.object(model, "image_token_id", pad)


def limit_image_pixels(pixels: int) -> FaultInjector:
    """The image processor has another upper limit of the size."""

    def plant(backend: Any) -> AbstractContextManager[Any]:
        processor = _model(backend).processor.image_processor
        return patch.object(processor, "size", replace(processor.size, longest_edge=pixels))

    return plant


def drop_feature_row(backend: Any) -> AbstractContextManager[None]:
    """A picture is counted one row of its grid too few."""
    model = _model(backend)
    merge = model.processor.image_processor.merge_size

    def shorten(messages: Messages) -> Messages:
        for entry in messages[-1]["content"]:
            entry["image_tokens"] = entry["image_tokens"] - int(entry["image_grid_thw"][0, -1]) // merge
        return messages

    return change_result(model, "preprocess", shorten)


def shorten_span(backend: Any) -> AbstractContextManager[None]:
    """A medium's last placeholder gets no feature."""

    def shorten(found: dict[str, Any]) -> dict[str, Any]:
        for entry in found["multimodal"]:
            entry["image_tokens"] = entry["image_tokens"] - 1
        return found

    return change_result(_model(backend), "to_pytorch", shorten)


def _processor(backend: Any) -> Any:
    """The ``MultimodalProcessor`` that the backend asks."""
    return backend._front_end._processor


def _model(backend: Any) -> Any:
    """LMDeploy's image processor for the model."""
    return _processor(backend).vl_encoder.model
