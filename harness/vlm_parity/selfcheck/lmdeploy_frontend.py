"""Fault injectors for the front end of LMDeploy: template, messages, tokenizer and image processors.

Those for the image processors apply to Qwen2-VL and Qwen2.5-VL: the ids of Qwen3-VL come from the processor
of transformers in LMDeploy.
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
    """Return an injector that changes the chat template."""

    def inject(backend: Any) -> AbstractContextManager[Any]:
        tokenizer = _processor(backend).chat_template.tokenizer
        return patch.object(tokenizer, "chat_template", change(tokenizer.chat_template))

    return inject


def change_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """Return an injector that changes the messages after LMDeploy has parsed them."""

    def wrap(original: Function) -> Function:
        async def parse(*args: Any, **options: Any) -> Messages:
            return change(await original(*args, **options))

        return parse

    return lambda backend: wrap_function(_processor(backend), "async_parse_multimodal_item", wrap)


def change_rendered_messages(change: Callable[[Messages], Messages]) -> FaultInjector:
    """Return an injector that changes the messages before they are rendered by the chat template."""

    def wrap(original: Function) -> Function:
        return lambda messages, **options: original(change(messages), **options)

    return lambda backend: wrap_function(_processor(backend).chat_template, "messages2prompt", wrap)


def change_ids(change: Callable[[list[int], Any], list[int]], *, first: bool = False) -> FaultInjector:
    """Return an injector that changes the ids of the tokenizer before placeholders are expanded.

    Args:
        change: called with the ids and the tokenizer, returns the changed ids.
        first: change only the text that starts the prompt; LMDeploy tokenizes each text between media alone.
    """

    def inject(backend: Any) -> AbstractContextManager[None]:
        tokenizer = _processor(backend).tokenizer

        def wrap(original: Function) -> Function:
            def encode(text: str, add_bos: bool = True, **options: Any) -> list[int]:
                ids: list[int] = original(text, add_bos=add_bos, **options)
                return change(ids, tokenizer.model.model) if add_bos or not first else ids

            return encode

        return wrap_function(tokenizer, "encode", wrap)

    return inject


def reverse_media(backend: Any) -> AbstractContextManager[None]:
    """Assign the media to the placeholders in reverse order."""
    return change_result(_model(backend), "collect_multimodal_items", lambda items: items[::-1])


def replace_image_with_pad(backend: Any) -> AbstractContextManager[Any]:
    """Replace the id of the image token by the pad token, which an earlier LMDeploy used for all models."""
    model = _model(backend)
    pad = model.get_pad_token_id(model.model_path, model.hf_config)
    return patch.object(model, "image_token_id", pad)


def limit_image_pixels(pixels: int) -> FaultInjector:
    """Return an injector that changes the maximum number of pixels of the image processor."""

    def inject(backend: Any) -> AbstractContextManager[Any]:
        processor = _model(backend).processor.image_processor
        return patch.object(processor, "size", replace(processor.size, longest_edge=pixels))

    return inject


def drop_feature_row(backend: Any) -> AbstractContextManager[None]:
    """Expand the placeholder of an image to one grid row less."""
    model = _model(backend)
    merge = model.processor.image_processor.merge_size

    def shorten(messages: Messages) -> Messages:
        for entry in messages[-1]["content"]:
            entry["image_tokens"] = entry["image_tokens"] - int(entry["image_grid_thw"][0, -1]) // merge
        return messages

    return change_result(model, "preprocess", shorten)


def shorten_span(backend: Any) -> AbstractContextManager[None]:
    """Shorten each span by one position, so that the last placeholder gets no feature."""

    def shorten(inputs: dict[str, Any]) -> dict[str, Any]:
        for entry in inputs["multimodal"]:
            entry["image_tokens"] = entry["image_tokens"] - 1
        return inputs

    return change_result(_model(backend), "to_pytorch", shorten)


def _processor(backend: Any) -> Any:
    """Return the ``MultimodalProcessor`` of the backend."""
    return backend._frontend._processor


def _model(backend: Any) -> Any:
    """Return the image processor of LMDeploy for the model."""
    return _processor(backend).vl_encoder.model
