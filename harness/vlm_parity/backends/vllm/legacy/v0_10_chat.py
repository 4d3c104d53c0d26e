"""What ``LLM.chat`` of vLLM 0.8.5 to 0.10 hands to its engine: by its own code, without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.chat import build_conversation
from vlm_parity.media.data_url import encode_image_url
from vlm_parity.media.load import Image
from vlm_parity.util.errors import PrivateApiChangedError

_RENDER_METHODS = "apply_hf_chat_template"


def render_chat_prompt(
    config: Any, tokenizer: Any, request: Request, told: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """The rendered text, and the prompt with its media as ``LLM.generate`` is given them.

    Args:
        config: vLLM's ``ModelConfig``.
        tokenizer: the one that its engine would have.
        request: without a way in.
        told: what the processor is told of the media.

    Raises:
        PrivateApiChangedError: ``LLM.chat`` asks for more of ``LLM`` than is here.
    """
    llm = _build_llm(config, tokenizer)
    with _patch_renderer() as texts:
        try:
            (asked,) = llm.chat(
                build_conversation(request, to_data_url), use_tqdm=False, mm_processor_kwargs=told or None
            )
        except AttributeError as problem:
            if problem.obj not in (llm, llm.llm_engine):
                raise
            raise PrivateApiChangedError(f"vllm.LLM.chat asks for {problem.name}") from problem
    return texts[-1] if texts else None, dict(asked)


def _build_llm(config: Any, tokenizer: Any) -> Any:
    """An ``LLM`` that has no engine: its ``chat`` ends where a prompt would be handed to it."""
    from vllm import LLM

    class Shell(LLM):  # type: ignore[misc]
        def __init__(self) -> None:
            self.llm_engine = SimpleNamespace(get_model_config=lambda: config)

        def get_tokenizer(self, *_: Any, **__: Any) -> Any:
            return tokenizer

        def generate(self, prompts: Any, *_: Any, **__: Any) -> Any:
            return prompts

    return Shell()


@contextmanager
def _patch_renderer() -> Iterator[list[str]]:
    """Collects the texts that the chat template makes while the block runs."""
    from vllm.entrypoints import llm

    render = getattr(llm, _RENDER_METHODS, None)
    if render is None:
        raise PrivateApiChangedError(f"vllm.entrypoints.llm.{_RENDER_METHODS} is gone")
    texts: list[str] = []

    def watched(*args: Any, **kwargs: Any) -> str:
        text: str = render(*args, **kwargs)
        texts.append(text)
        return text

    setattr(llm, _RENDER_METHODS, watched)
    try:
        yield texts
    finally:
        setattr(llm, _RENDER_METHODS, render)


def to_data_url(picture: Image) -> dict[str, Any]:
    """A decoded picture as a part of a message: 0.8 takes it in no other form."""
    return {"type": "image_url", "image_url": {"url": encode_image_url(picture)}}
