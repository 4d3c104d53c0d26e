"""Prompts by a model's own chat template and tokenizer, as transformers applies them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from vlm_parity.media.load import DecodedVideo
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import Family
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.case import Case, ContentPart, Message, TextPart


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
    """Return the prompt of a case by a processor's chat template, generation prompt included."""
    as_parts = family is None or family.texts_as_parts
    messages = [_build_message(message, as_parts) for message in case.messages]
    rendered = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
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


def _build_message(message: Message, texts_as_parts: bool) -> dict[str, Any]:
    if isinstance(message.content, str) and not texts_as_parts:
        return {"role": message.role, "content": message.content}
    return {"role": message.role, "content": [_build_part(part) for part in message.parts]}


def _build_part(part: ContentPart) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": part.modality}
