"""What ``LLM.chat`` makes of a conversation: by its own code, whether there is an engine or not.

Which special tokens the tokenizer adds, say, is for the release to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.unsupported import refusals_named
from vlm_parity.media.data_url import common_rate, sound_url, video_url
from vlm_parity.media.load import Audio, Encoded, Image, Media, Video
from vlm_parity.schema.case import Message, Part, TextPart
from vlm_parity.util.errors import PrivateApiChangedError

AsPart = Callable[[Image], dict[str, Any]]
_METHOD = "_preprocess_chat"


def chat_rendered(renderer: Any, config: Any, request: Request, told: dict[str, Any]) -> dict[str, Any]:
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
    with refusals_named():
        watched = _Told(renderer, _media_options(request.media))
        shell = LLM.__new__(LLM)
        shell.renderer, shell.model_config, shell.chat_template = watched, config, None
        try:
            conversations = [conversation(one) for one in (request, *request.beside)]
            rendered, *_ = getattr(shell, _METHOD)(conversations, mm_processor_kwargs=told or None)
        except AttributeError as problem:
            if problem.obj is not shell:
                raise
            raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} asks for LLM.{problem.name}") from problem
    if not watched.was_asked:
        raise PrivateApiChangedError(f"vllm.LLM.{_METHOD} does not ask its renderer's render_chat")
    return dict(rendered)


class _Told:
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


def as_pil(picture: Image) -> dict[str, Any]:
    """A decoded picture as a part of a message."""
    return {"type": "image_pil", "image_pil": picture}


def conversation(request: Request, picture: AsPart = as_pil) -> list[dict[str, Any]]:
    """The messages of a request, as vLLM's chat path takes them.

    Args:
        request: without a way in.
        picture: how a decoded picture goes in.
    """
    media = iter(request.media)
    return [_message(message, media, picture) for message in request.case.messages]


def _message(message: Message, media: Iterator[Media], picture: AsPart) -> dict[str, Any]:
    content: str | list[dict[str, Any]]
    if isinstance(message.content, str):
        content = message.content
    else:
        content = [_part(part, media, picture) for part in message.parts]
    return {"role": message.role, "content": content}


def _part(part: Part, media: Iterator[Media], picture: AsPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    medium = next(media)
    if isinstance(medium, Encoded):
        kind = f"{medium.modality}_url"
        return {"type": kind, kind: {"url": medium.url}}
    if isinstance(medium, Video):
        return {"type": "video_url", "video_url": {"url": video_url(medium)}}
    if isinstance(medium, Audio):
        return {"type": "audio_url", "audio_url": {"url": sound_url(medium)}}
    return picture(medium)


def _media_options(media: Sequence[Media]) -> dict[str, dict[str, Any]] | None:
    videos = [medium for medium in media if isinstance(medium, Video)]
    return {"video": {"fps": common_rate(videos), "num_frames": -1}} if videos else None
