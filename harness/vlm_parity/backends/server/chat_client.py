"""A case as a chat completion, asked with the ``openai`` client, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.server.process import HOST, Server
from vlm_parity.media.data_url import common_rate, image_url, sound_url, video_url
from vlm_parity.media.load import Audio, Encoded, Media, Video
from vlm_parity.schema.case import Message, TextPart
from vlm_parity.util.errors import EngineError, RequestRefusedError, UnsupportedError

TOP = 20
"""Tokens listed at each position: as many as OpenAI's interface allows."""
_INTERNAL = 500  # statuses from here on are the server's own failures


def chat_of(request: Request) -> dict[str, Any]:
    """The arguments of a chat completion that say what is asked, media as data URLs.

    Raises:
        ValueError: the videos have different frame rates.
    """
    media = iter(request.media)
    videos = [medium for medium in request.media if isinstance(medium, Video)]
    options = {"media_io_kwargs": {"video": {"fps": common_rate(videos), "num_frames": -1}}} if videos else {}
    return {
        "messages": [_message(message, media) for message in request.case.messages],
        "max_tokens": request.case.max_new_tokens,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": TOP,
        "extra_body": {"ignore_eos": True, "return_token_ids": True, **options},
    }


def _message(message: Message, media: Iterator[Media]) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _medium(next(media))
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _medium(medium: Media) -> dict[str, Any]:
    if isinstance(medium, Encoded):
        kind = f"{medium.modality}_url"
        return {"type": kind, kind: {"url": medium.url}}
    if isinstance(medium, Video):
        return {"type": "video_url", "video_url": {"url": video_url(medium)}}
    if isinstance(medium, Audio):
        return {"type": "audio_url", "audio_url": {"url": sound_url(medium)}}
    return {"type": "image_url", "image_url": {"url": image_url(medium)}}


class Client:
    """The ``openai`` client of one server."""

    def __init__(self, server: Server, unserved: re.Pattern[str]) -> None:
        """
        Args:
            server: one that is ready.
            unserved: the words by which the engine says that it does not serve something.

        Raises:
            ModuleNotFoundError: there is no ``openai`` in this environment.
        """
        self._server, self._unserved = server, unserved
        self._client = _openai().OpenAI(
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
        openai = _openai()
        try:
            answer: dict[str, Any] = self._client.chat.completions.create(
                model=self._model, **chat
            ).model_dump()
        except openai.APIStatusError as problem:
            words = said(problem.status_code, problem.body)
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


def check_client() -> None:
    """Raises ``ModuleNotFoundError``, which says what to install, where there is no client."""
    _openai()


def _openai() -> Any:
    try:
        import openai
    except ModuleNotFoundError as problem:
        raise ModuleNotFoundError(
            "an engine's server is asked with the openai client, and this environment has none: "
            "pip install openai"
        ) from problem
    return openai


def said(status: int, body: object) -> str:
    """An error's own words, with its status; ``body`` is what ``openai`` made of the response."""
    message = body.get("message") if isinstance(body, Mapping) else body
    return f"HTTP {status}: {message if message else 'no words'}"
