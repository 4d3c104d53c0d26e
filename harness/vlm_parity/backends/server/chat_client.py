"""A case as a chat completion, asked with the ``openai`` client, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.server.process import HOST, ServerProcess
from vlm_parity.media.data_url import encode_audio_url, encode_image_url, encode_video_url, get_common_rate
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium, Media
from vlm_parity.schema.case import Message, TextPart
from vlm_parity.util.errors import EngineError, RequestRefusedError, UnsupportedError

TOP_LOGPROBS = 20
"""Tokens listed at each position: as many as OpenAI's interface allows."""
_INTERNAL = 500  # statuses from here on are the server's own failures


def build_chat(request: Request) -> dict[str, Any]:
    """The arguments of a chat completion that say what is asked, media as data URLs.

    Raises:
        ValueError: the videos have different frame rates.
    """
    media = iter(request.media)
    videos = [medium for medium in request.media if isinstance(medium, DecodedVideo)]
    options = (
        {"media_io_kwargs": {"video": {"fps": get_common_rate(videos), "num_frames": -1}}} if videos else {}
    )
    return {
        "messages": [_build_message(message, media) for message in request.case.messages],
        "max_tokens": request.case.max_new_tokens,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": TOP_LOGPROBS,
        "extra_body": {"ignore_eos": True, "return_token_ids": True, **options},
    }


def _build_message(message: Message, media: Iterator[Media]) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _build_medium(next(media))
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _build_medium(medium: Media) -> dict[str, Any]:
    if isinstance(medium, EncodedMedium):
        kind = f"{medium.modality}_url"
        return {"type": kind, kind: {"url": medium.build_url()}}
    if isinstance(medium, DecodedVideo):
        return {"type": "video_url", "video_url": {"url": encode_video_url(medium)}}
    if isinstance(medium, DecodedAudio):
        return {"type": "audio_url", "audio_url": {"url": encode_audio_url(medium)}}
    return {"type": "image_url", "image_url": {"url": encode_image_url(medium)}}


class ChatClient:
    """The ``openai`` client of one server."""

    def __init__(self, server: ServerProcess, unserved: re.Pattern[str]) -> None:
        """Args:
            server: one that is ready.
            unserved: the words by which the engine says that it does not serve something.

        Raises:
            ModuleNotFoundError: there is no ``openai`` in this environment.
        """
        self._server, self._unserved = server, unserved
        self._client = _import_openai().OpenAI(
            base_url=f"http://{HOST}:{server.port}/v1", api_key="none", max_retries=0, timeout=None
        )
        self._model = self._client.models.list().data[0].id

    def complete(self, chat: Mapping[str, Any]) -> dict[str, Any]:
        """The server's answer to a chat completion.

        Raises:
            UnsupportedError: the server says that it does not serve this.
            RequestRefusedError: it says that the request is wrong.
            EngineError: it says that it failed.
            EngineCrashedError: it is gone.
        """
        openai = _import_openai()
        try:
            answer: dict[str, Any] = self._client.chat.completions.create(
                model=self._model, **chat
            ).model_dump()
        except openai.APIStatusError as problem:
            words = extract_error(problem.status_code, problem.body)
            if self._unserved.search(words):
                raise UnsupportedError(words) from problem
            if problem.status_code < _INTERNAL:
                raise RequestRefusedError(words) from problem
            self._server.check_alive(problem)
            raise EngineError(words) from problem
        except openai.APIConnectionError as problem:
            self._server.check_alive(problem)
            raise EngineError(f"the server broke the connection off: {problem}") from problem
        return answer


def check_openai_client() -> None:
    """Raises ``ModuleNotFoundError``, which says what to install, where there is no client."""
    _import_openai()


def _import_openai() -> Any:
    try:
        import openai
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "an engine's server is asked with the openai client, and this environment has none: "
            "pip install openai"
        ) from problem
    return openai


def extract_error(status: int, body: object) -> str:
    """An error's own words, with its status; ``body`` is what ``openai`` made of the response."""
    message = body.get("message") if isinstance(body, Mapping) else body
    return f"HTTP {status}: {message if message else 'no words'}"
