"""Conversations through vLLM's own ``LLM.chat``, with or without an engine.

The release decides the details, such as the special tokens that the tokenizer adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.openai_messages import build_media_io_kwargs, build_openai_messages
from vlm_parity.backends.common.template_arguments import (
    list_batch,
    move_documents,
    select_template_arguments,
)
from vlm_parity.backends.vllm.unsupported import convert_unsupported_errors
from vlm_parity.media.load import Image
from vlm_parity.schema.case import TEMPLATE_ARGUMENTS
from vlm_parity.util.errors import PrivateApiChangedError

_METHOD = "_preprocess_chat"


def build_chat_arguments(request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``LLM.chat`` for a request; servers take ``media_io_kwargs``, too.

    Raises:
        UnsupportedError: ``LLM.chat`` has no parameter for one of the template arguments.
        ValueError: the videos have different frame rates.
    """
    # ``LLM.chat`` takes no documents; the server passes its own to the template as a variable.
    template = move_documents(select_template_arguments(request.case, TEMPLATE_ARGUMENTS, "LLM.chat"))
    return {
        "messages": build_openai_messages(request, build_image_pil_part),
        "media_io_kwargs": build_media_io_kwargs(request.media),
        "mm_processor_kwargs": processor_kwargs or None,
        **template,
    }


def render_conversation(
    renderer: Any, config: Any, request: Request, processor_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return a request in the form in which ``LLM.chat`` passes it to the engine.

    Args:
        renderer: of vLLM.
        config: vLLM's ``ModelConfig``.
        request: for the entry point ``chat``; what of its ``batch_with`` has the same template arguments goes
            into the same call.
        processor_kwargs: vLLM's ``mm_processor_kwargs``.

    Raises:
        PrivateApiChangedError: ``LLM.chat`` does not use the renderer, or needs further attributes of
            ``LLM``.
        UnsupportedError: vLLM does not support this kind of case.
    """
    from vllm import LLM

    if not hasattr(LLM, _METHOD):
        raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} is gone")
    with convert_unsupported_errors():
        arguments = build_chat_arguments(request, processor_kwargs)
        own, media_io_kwargs = arguments.pop("messages"), arguments.pop("media_io_kwargs")
        others = [build_openai_messages(member, build_image_pil_part) for member in list_batch(request)[1:]]
        proxy = _RendererProxy(renderer, media_io_kwargs)
        llm = LLM.__new__(LLM)
        llm.renderer, llm.model_config, llm.chat_template = proxy, config, None
        try:
            rendered, *_ = getattr(llm, _METHOD)([own, *others], **arguments)
        except AttributeError as error:
            if error.obj is not llm:
                raise
            raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} uses LLM.{error.name}") from error
    if not proxy.was_called:
        raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} does not call render_chat of its renderer")
    return dict(rendered)


class _RendererProxy:
    """vLLM's renderer with ``media_io_kwargs``, which servers accept and ``LLM.chat`` does not."""

    def __init__(self, renderer: Any, media_io_kwargs: dict[str, dict[str, Any]] | None) -> None:
        self._renderer = renderer
        self._media_io_kwargs = media_io_kwargs
        self.was_called = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    def render_chat(self, conversations: Sequence[Any], params: Any, *args: Any, **kwargs: Any) -> Any:
        self.was_called = True
        params = replace(params, media_io_kwargs=self._media_io_kwargs)
        return self._renderer.render_chat(conversations, params, *args, **kwargs)


def build_image_pil_part(image: Image) -> dict[str, Any]:
    """Return the content part of a decoded image in vLLM's own form."""
    return {"type": "image_pil", "image_pil": image}
