"""Base of the backends that run an engine behind its own OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.server.chat_client import ChatClient, build_chat, check_openai_client
from vlm_parity.backends.server.process import ServerProcess
from vlm_parity.backends.server.response import HIDDEN, ServerResponse
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import (
    EngineError,
    ForeignServerError,
    ServerEndedError,
    UnexpectedResponseError,
    UnsupportedError,
)


class ResponseReader(Protocol):
    """A function that reads the responses of one engine's server."""

    def __call__(self, completion: Mapping[str, Any], tokenizer: Any) -> ServerResponse:
        """Convert a chat completion.

        Args:
            completion: the body of the response, with the engine's own fields.
            tokenizer: of the checkpoint, from transformers.

        Raises:
            UnexpectedResponseError: a requested field is missing.
        """


@dataclass(frozen=True)
class ServerDialect:
    """Differences between one engine's server and OpenAI's interface."""

    extra_body: Mapping[str, Any]
    """Fields to add to the body of each request."""
    hidden_stages: Mapping[Stage, str]
    """Stages that this server does not expose, besides those of ``HIDDEN``, with the reasons."""
    unsupported_pattern: re.Pattern[str]
    """Matches the engine's messages about models and kinds of cases that it does not support."""
    read_response: ResponseReader
    select_template_arguments: Callable[[Case], dict[str, Any]]
    """Returns the template arguments of a case as fields of the body of a request; raises
    ``UnsupportedError`` if the server has no field for one of them."""


class ServerBackend(Backend):
    """An engine behind its own server; subclasses start it in ``load`` and define ``dialect``."""

    conditions = frozenset()
    dialect: ClassVar[ServerDialect]

    def start(
        self,
        checkpoint: Checkpoint,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str],
    ) -> None:
        """Start the server and wait until it is ready.

        Args:
            checkpoint: the model to serve.
            command: returns the command line for a port of the loopback interface.
            environment: variables to set in addition to those of this process.

        Raises:
            ModuleNotFoundError: the package ``openai`` is not installed.
            UnsupportedError: the server ended, and its output says that it does not support the model.
            ServerEndedError: the server ended for a different reason.
            ForeignServerError: a process that this one did not start listens on the server's port.
        """
        from transformers import AutoTokenizer

        check_openai_client()
        trusted = checkpoint.trust_remote_code
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, trust_remote_code=trusted)
        self._checkpoint = checkpoint
        self._server = ServerProcess(command, environment)
        try:
            self._server.wait_until_ready()
        except ServerEndedError as error:
            message = self._server.find_line(self.dialect.unsupported_pattern)
            if message is not None:
                raise UnsupportedError(message) from error
            raise
        except ForeignServerError:
            self._server.stop()
            raise
        self._client = ChatClient(self._server, self.dialect.unsupported_pattern)

    @classmethod
    def build_call(cls, request: Request, processor_kwargs: dict[str, Any]) -> dict[str, Any]:
        chat = build_chat(request, cls.dialect.select_template_arguments(request.case))
        kwargs = {"mm_processor_kwargs": processor_kwargs} if processor_kwargs else {}
        return {**chat, "extra_body": {**chat["extra_body"], **cls.dialect.extra_body, **kwargs}}

    def inputs(self, request: Request) -> Inputs:
        """Request a chat completion; return its prompt and ids, with the whole response as ``prepared``.

        Raises:
            UnsupportedError, RequestRefusedError, EngineError, EngineCrashedError: as
                ``ChatClient.complete``.
        """
        try:
            chat = self.build_call(request, build_processor_kwargs(self._checkpoint, request))
        except ValueError as error:
            raise UnsupportedError(str(error)) from error
        completion = self._client.complete(chat)
        try:
            response = self.dialect.read_response(completion, self._tokenizer)
        except UnexpectedResponseError as error:
            raise EngineError(str(error)) from error
        return Inputs(
            prompt=response.prompt,
            input_ids=response.input_ids or (),
            spans=None,
            prepared=response,
            prompt_tokens=response.prompt_tokens if response.input_ids is None else None,
            not_captured={**HIDDEN, **self.dialect.hidden_stages},
        )

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """Return the outputs in the same response; a server follows no continuation but its own."""
        response: ServerResponse = inputs.prepared
        return response.build_outputs()

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._tokenizer, ids)

    def close(self) -> None:
        self._server.stop()
