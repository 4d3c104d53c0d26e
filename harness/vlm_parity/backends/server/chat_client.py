"""Chat completions through the ``openai`` client, and the errors that they end with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.openai_messages import build_media_io_kwargs, build_openai_messages
from vlm_parity.backends.server.port import HOST
from vlm_parity.backends.server.process import ServerProcess
from vlm_parity.util.errors import EngineError, RequestRefusedError, UnsupportedError

TOP_LOGPROBS = 20
"""Number of tokens to list at each position: the most that OpenAI's interface allows."""
_NO_ARGUMENTS: Mapping[str, Any] = {}
_SERVER_ERROR = 500  # HTTP statuses from here on are failures of the server itself


def build_chat(request: Request, template: Mapping[str, Any] = _NO_ARGUMENTS) -> dict[str, Any]:
    """Return the arguments of a chat completion for a request, media as data URLs.

    Args:
        request: the conversation.
        template: its template arguments that the server takes, fields of the body of the request.

    Raises:
        ValueError: the videos have different frame rates.
    """
    media_io_kwargs = build_media_io_kwargs(request.media)
    extra = {"media_io_kwargs": media_io_kwargs} if media_io_kwargs else {}
    return {
        "messages": [_write_arguments(message) for message in build_openai_messages(request)],
        "max_tokens": request.case.max_new_tokens,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": TOP_LOGPROBS,
        "extra_body": {"ignore_eos": True, "return_token_ids": True, **extra, **template},
    }


def _write_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the arguments of tool calls as JSON text: OpenAI's API permits no objects."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = [{**call, "function": _write_function(call["function"])} for call in calls]
    return {**message, "tool_calls": written}


def _write_function(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**function, "arguments": text}


class ChatClient:
    """The ``openai`` client of one server."""

    def __init__(self, server: ServerProcess, unsupported_pattern: re.Pattern[str]) -> None:
        """Connect to a server and read the name of its model.

        Args:
            server: one that is ready.
            unsupported_pattern: matches the engine's messages about unsupported requests.

        Raises:
            ModuleNotFoundError: the package ``openai`` is not installed.
        """
        self._server, self._unsupported_pattern = server, unsupported_pattern
        openai = _import_openai()
        self._client = openai.OpenAI(
            base_url=f"http://{HOST}:{server.port}/v1",
            api_key="none",
            max_retries=0,
            timeout=None,
            http_client=openai.DefaultHttpxClient(trust_env=False),  # a proxy would answer for the server
        )
        self._model = self._client.models.list().data[0].id

    def complete(self, chat: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the response to a chat completion.

        Args:
            chat: result of ``build_chat``.

        Raises:
            UnsupportedError: the server reports that it does not support the request.
            RequestRefusedError: it reports an invalid request.
            EngineError: it reports a failure of its own.
            EngineCrashedError: it has ended, or is unhealthy.
        """
        openai = _import_openai()
        self._server.check_running()
        try:
            completion: dict[str, Any] = self._client.chat.completions.create(
                model=self._model, **chat
            ).model_dump()
        except openai.APIStatusError as error:
            message = extract_error(error.status_code, error.body)
            if self._unsupported_pattern.search(message):
                raise UnsupportedError(message) from error
            if error.status_code < _SERVER_ERROR:
                raise RequestRefusedError(message) from error
            self._server.check_alive(error)
            raise EngineError(message) from error
        except openai.APIConnectionError as error:
            self._server.check_alive(error)
            raise EngineError(f"the server closed the connection: {error}") from error
        return completion


def check_openai_client() -> None:
    """Raise ``ModuleNotFoundError`` with the install command if ``openai`` is not installed."""
    _import_openai()


def _import_openai() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the entry point server needs the openai client, which is not installed: pip install openai"
        ) from error
    return openai


def extract_error(status: int, body: object) -> str:
    """Return the message of an error response, with its status.

    Args:
        status: of HTTP.
        body: the response as parsed by ``openai``.
    """
    message = body.get("message") if isinstance(body, Mapping) else body
    return f"HTTP {status}: {message if message else 'no message'}"
