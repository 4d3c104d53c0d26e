"""What ``LLM.chat`` makes of a conversation: by its own code, whether there is an engine or not.

Which special tokens the tokenizer adds, say, is for the release to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.unsupported import raising_unsupported
from vlm_parity.media.data_url import encode_audio_url, encode_video_url, get_common_rate
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Image, Media
from vlm_parity.schema.case import ContentPart, Message, TextPart
from vlm_parity.util.errors import PrivateApiChangedError

ImageConverter = Callable[[Image], dict[str, Any]]
_METHOD = "_preprocess_chat"


def render_conversation(renderer: Any, config: Any, request: Request, told: dict[str, Any]) -> dict[str, Any]:
    """The request as ``LLM.chat`` hands it to the engine.

    Args:
        renderer: vLLM's.
        config: its ``ModelConfig``.
        request: without a way in; those beside it go into the same call.
        told: what the processor is told of the media.

    Raises:
        PrivateApiChangedError: ``LLM.chat`` goes another way, or asks for more of ``LLM`` than is here.
        UnsupportedError: vLLM does not serve this.
    """
    from vllm import LLM

    if not hasattr(LLM, _METHOD):
        raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} is gone")
    with raising_unsupported():
        watched = _RendererProxy(renderer, _build_media_options(request.media))
        shell = LLM.__new__(LLM)
        shell.renderer, shell.model_config, shell.chat_template = watched, config, None
        try:
            conversations = [build_conversation(one) for one in (request, *request.batch_with)]
            rendered, *_ = getattr(shell, _METHOD)(conversations, mm_processor_kwargs=told or None)
        except AttributeError as problem:
            if problem.obj is not shell:
                raise
            raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} asks for LLM.{problem.name}") from problem
    if not watched.was_asked:
        raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} does not ask its renderer's render_chat")
    return dict(rendered)


class _RendererProxy:
    """vLLM's renderer, told how media are opened: ``LLM.chat`` has no argument for that, a server has."""

    def __init__(self, renderer: Any, media_options: dict[str, dict[str, Any]] | None) -> None:
        self._renderer = renderer
        self._media_options = media_options
        self.was_asked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    def render_chat(self, conversations: Sequence[Any], params: Any, *args: Any, **kwargs: Any) -> Any:
        self.was_asked = True
        params = replace(params, media_io_kwargs=self._media_options)
        return self._renderer.render_chat(conversations, params, *args, **kwargs)


def to_pil(picture: Image) -> dict[str, Any]:
    """A decoded picture as a part of a message."""
    return {"type": "image_pil", "image_pil": picture}


def build_conversation(request: Request, picture: ImageConverter = to_pil) -> list[dict[str, Any]]:
    """The messages of a request, as vLLM's chat path takes them.

    Args:
        request: without a way in.
        picture: how a decoded picture goes in.
    """
    media = iter(request.media)
    return [_build_message(message, media, picture) for message in request.case.messages]


def _build_message(message: Message, media: Iterator[Media], picture: ImageConverter) -> dict[str, Any]:
    content: str | list[dict[str, Any]]
    if isinstance(message.content, str):
        content = message.content
    else:
        content = [_build_part(part, media, picture) for part in message.parts]
    return {"role": message.role, "content": content}


def _build_part(part: ContentPart, media: Iterator[Media], picture: ImageConverter) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    medium = next(media)
    if isinstance(medium, EncodedMedium):
        kind = f"{medium.modality}_url"
        return {"type": kind, kind: {"url": medium.build_url()}}
    if isinstance(medium, DecodedVideo):
        return {"type": "video_url", "video_url": {"url": encode_video_url(medium)}}
    if isinstance(medium, DecodedAudio):
        return {"type": "audio_url", "audio_url": {"url": encode_audio_url(medium)}}
    return picture(medium)


def _build_media_options(media: Sequence[Media]) -> dict[str, dict[str, Any]] | None:
    videos = [medium for medium in media if isinstance(medium, DecodedVideo)]
    return {"video": {"fps": get_common_rate(videos), "num_frames": -1}} if videos else None
