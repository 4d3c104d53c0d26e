"""Conversations through ``LLM.chat`` of vLLM 0.8.5 to 0.10, without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.openai_messages import build_openai_messages
from vlm_parity.backends.common.template_arguments import select_template_arguments
from vlm_parity.util.errors import PrivateApiChangedError

_RENDER_METHOD = "apply_hf_chat_template"


def render_chat_prompt(
    config: Any, tokenizer: Any, request: Request, processor_kwargs: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """Return the rendered text, and the prompt with its media as passed to ``LLM.generate``.

    Decoded images go in as data URLs: 0.8 accepts them in no other form.

    Args:
        config: vLLM's ``ModelConfig``.
        tokenizer: the one that the engine would use.
        request: for the entry point ``chat``.
        processor_kwargs: vLLM's ``mm_processor_kwargs``.

    Raises:
        PrivateApiChangedError: ``LLM.chat`` needs further attributes of ``LLM``.
        UnsupportedError: the case has arguments of the chat template.
    """
    select_template_arguments(request.case, (), "this adapter for vLLM before 0.27")
    llm = _build_llm(config, tokenizer)
    with _record_rendered_texts() as texts:
        try:
            (prompt,) = llm.chat(
                build_openai_messages(request), use_tqdm=False, mm_processor_kwargs=processor_kwargs or None
            )
        except AttributeError as error:
            if error.obj not in (llm, llm.llm_engine):
                raise
            raise PrivateApiChangedError(f"vllm.LLM.chat uses {error.name}") from error
    return texts[-1] if texts else None, dict(prompt)


def _build_llm(config: Any, tokenizer: Any) -> Any:
    """Return an ``LLM`` without an engine, whose ``chat`` returns the prompts instead of running them."""
    from vllm import LLM

    class FrontendOnlyLLM(LLM):  # type: ignore[misc]
        def __init__(self) -> None:
            self.llm_engine = SimpleNamespace(get_model_config=lambda: config)

        def get_tokenizer(self, *_: Any, **__: Any) -> Any:
            return tokenizer

        def generate(self, prompts: Any, *_: Any, **__: Any) -> Any:
            return prompts

    return FrontendOnlyLLM()


@contextmanager
def _record_rendered_texts() -> Iterator[list[str]]:
    """Collect the texts rendered by the chat template while the block runs."""
    from vllm.entrypoints import llm

    render = getattr(llm, _RENDER_METHOD, None)
    if render is None:
        raise PrivateApiChangedError(f"vllm.entrypoints.llm.{_RENDER_METHOD} is gone")
    texts: list[str] = []

    def render_and_record(*args: Any, **kwargs: Any) -> str:
        text: str = render(*args, **kwargs)
        texts.append(text)
        return text

    setattr(llm, _RENDER_METHOD, render_and_record)
    try:
        yield texts
    finally:
        setattr(llm, _RENDER_METHOD, render)
