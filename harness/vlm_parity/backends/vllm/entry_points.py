"""vLLM's entry points other than ``chat``, and their prompts for ``LLM.generate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.chat_template import HfPrompt, build_video_metadata
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import UnsupportedError

ENTRY_POINTS = {
    EntryPoint.TEXT: "LLM.generate with prompt and multi_modal_data: text by the processor's chat template, "
    "decoded media",
    EntryPoint.TOKEN_IDS: "LLM.generate with prompt_token_ids and multi_modal_data: the same text tokenized, "
    "decoded media",
    EntryPoint.SERVER: "vllm serve, queried over HTTP with the openai client",
}


def build_prompt(request: Request, template: HfPrompt, processor_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prompt for ``LLM.generate``, with unexpanded placeholders.

    Args:
        request: for the entry point ``text`` or ``token_ids``.
        template: of the model.
        processor_kwargs: vLLM's ``mm_processor_kwargs``.

    Raises:
        UnsupportedError: the request holds a file, which ``LLM.generate`` does not open.
    """
    case = request.case
    prompt: dict[str, Any] = {}
    if request.entry_point is EntryPoint.TEXT:
        prompt["prompt"] = template.render_text(case)
    else:
        prompt["prompt_token_ids"] = template.tokenize(case)
    media: dict[str, list[Any]] = {}
    for medium in request.media:
        for modality, item in _build_items(medium):
            media.setdefault(modality, []).append(item)
    if processor_kwargs:
        prompt["mm_processor_kwargs"] = dict(processor_kwargs)
    return {**prompt, "multi_modal_data": media} if media else prompt


def _build_items(medium: Media) -> Iterator[tuple[str, Any]]:
    """Yield a medium with its key in ``multi_modal_data``; a video with an audio track yields two items.

    A video has the metadata of vLLM's own loader of single frames (``VideoMediaIO.load_base64``): the frames
    are complete, and are not sampled again.
    """
    if isinstance(medium, DecodedVideo):
        metadata = {
            **build_video_metadata(medium),
            "video_backend": "jpeg_sequence",
            "do_sample_frames": False,
        }
        yield "video", (medium.frames, metadata)
        if medium.audio_track is not None:
            yield from _build_items(medium.audio_track)
    elif isinstance(medium, DecodedAudio):
        yield "audio", (medium.samples, medium.rate)
    elif isinstance(medium, EncodedMedium):
        raise UnsupportedError(f"LLM.generate accepts decoded media only; this {medium.modality} is a file")
    else:
        yield "image", medium
