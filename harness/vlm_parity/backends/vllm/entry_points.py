"""The ways into vLLM beside its chat path: what is handed to ``LLM.generate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.chat_template import HfPrompt, build_video_metadata
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import UnsupportedError

ENTRY_POINTS = {
    EntryPoint.TEXT: "LLM.generate with prompt and multi_modal_data: the text by the processor's own chat template, "
    "the media decoded",
    EntryPoint.TOKEN_IDS: "LLM.generate with prompt_token_ids and multi_modal_data: that text by the tokenizer, "
    "the media decoded",
    EntryPoint.SERVER: "vllm serve, asked over HTTP with the openai client",
}


def build_prompt(request: Request, template: HfPrompt, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request as ``LLM.generate`` takes it; placeholders are not expanded.

    Args:
        request: with its way in.
        template: of the model.
        options: what the processor is told of the media.

    Raises:
        UnsupportedError: it holds a file, which ``LLM.generate`` does not open.
    """
    case = request.case
    prompt: dict[str, Any] = {}
    if request.entry_point is EntryPoint.TEXT:
        prompt["prompt"] = template.render_text(case)
    else:
        prompt["prompt_token_ids"] = template.ids(case)
    media: dict[str, list[Any]] = {}
    for medium in request.media:
        for modality, item in _decode_medium(medium):
            media.setdefault(modality, []).append(item)
    if options:
        prompt["mm_processor_kwargs"] = dict(options)
    return {**prompt, "multi_modal_data": media} if media else prompt


def _decode_medium(medium: Media) -> Iterator[tuple[str, Any]]:
    """A medium under its key in ``multi_modal_data``; a video that is heard under two.

    A video goes with what vLLM's own loader of single frames says of it (``VideoMediaIO.load_base64``):
    its frames are all that there are, and are not sampled again.
    """
    if isinstance(medium, DecodedVideo):
        metadata = {
            **build_video_metadata(medium),
            "video_backend": "jpeg_sequence",
            "do_sample_frames": False,
        }
        yield "video", (medium.frames, metadata)
        if medium.audio_track is not None:
            yield from _decode_medium(medium.audio_track)
    elif isinstance(medium, DecodedAudio):
        yield "audio", (medium.samples, medium.rate)
    elif isinstance(medium, EncodedMedium):
        raise UnsupportedError(f"LLM.generate takes decoded media, and this {medium.modality} is a file")
    else:
        yield "image", medium
