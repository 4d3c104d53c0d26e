"""Prompts by a model's own chat template and tokenizer, as transformers applies them."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from vlm_parity.backends.common.changed_prompts import Conversation, render_changes
from vlm_parity.backends.common.message import build_message
from vlm_parity.media.load import DecodedVideo
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import Family
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.case import Case


class HfPrompt:
    """The prompts of a checkpoint for the entry points ``text`` and ``token_ids``; loaded on first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Store the checkpoint.

        Args:
            checkpoint: its folder holds the processor.
        """
        self._checkpoint = checkpoint

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        checkpoint = self._checkpoint
        return AutoProcessor.from_pretrained(checkpoint.path, trust_remote_code=checkpoint.trust_remote_code)

    def render_text(self, case: Case) -> str:
        """Return the conversation as text, with one unexpanded placeholder for each medium."""
        name = self._checkpoint.family
        return render_chat(self._processor, case, load_family(name) if name in FAMILIES else None)

    def tokenize(self, case: Case) -> list[int]:
        """Return the ids of ``render_text``, the placeholders unexpanded."""
        text, tokenizer = self.render_text(case), self._processor.tokenizer
        ids: list[int] = tokenizer(text, add_special_tokens=not starts_with_bos(tokenizer, text)).input_ids
        return ids


def render_chat(processor: Any, case: Case, family: Family | None) -> str:
    """Return the prompt of a case by a processor's chat template.

    Raises:
        Exception: whatever the template raises, such as jinja2's ``TemplateError`` about a role.
    """
    return _render(processor, build_conversation(case, family))


def render_changed_prompts(processor: Any, case: Case, family: Family | None) -> dict[str, str]:
    """Return the prompts that changes of the conversation would give: ``Trace.changed_prompts``.

    Conversations of plain turns have none: their differences explain themselves.
    """
    own, other = (getattr(each, "chat_template", None) for each in (processor, processor.tokenizer))
    other = other if isinstance(other, str) and other != own else None
    if not case.is_extended and other is None:
        return {}
    conversation = build_conversation(case, family)
    return render_changes(conversation, partial(_render, processor), other)


def build_conversation(case: Case, family: Family | None) -> Conversation:
    """Return a conversation as transformers is passed it; texts are parts if the family needs them so."""
    # A template that comes with the request gets the contents as they were written.
    as_parts = case.chat_template is None and (family is None or family.texts_as_parts)
    messages = [
        build_message(message, lambda part: {"type": part.modality}, texts_as_parts=as_parts)
        for message in case.messages
    ]
    return Conversation(messages, case.template_arguments)


def _render(processor: Any, conversation: Conversation) -> str:
    options = conversation.template_options
    rendered = processor.apply_chat_template(conversation.messages, tokenize=False, **options)
    # In transformers 4.52 the processor of Qwen2.5-Omni treats one conversation as a batch of one.
    (text,) = [rendered] if isinstance(rendered, str) else rendered
    return str(text)


def starts_with_bos(tokenizer: Any, text: str) -> bool:
    """Return whether a prompt already starts with the token that the tokenizer would add again.

    Source: ``ProcessorMixin.apply_chat_template``, which does the same when it tokenizes.
    """
    bos = tokenizer.bos_token
    return bos is not None and text.startswith(bos)


def build_video_metadata(video: DecodedVideo) -> dict[str, Any]:
    """Return the fields of transformers' ``VideoMetadata`` for a decoded video; vLLM uses the same names."""
    count = len(video.frames)
    return {
        "total_num_frames": count,
        "fps": video.fps,
        "duration": video.duration,
        "frames_indices": list(range(count)),
    }
