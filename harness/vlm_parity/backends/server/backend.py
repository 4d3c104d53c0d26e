"""An engine behind its own server: loaded, asked and ended as a backend is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from vlm_parity.backends.base import Backend, Inputs, Outputs, Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs
from vlm_parity.backends.common.token_text import decode_token_texts
from vlm_parity.backends.server.chat_client import ChatClient, build_chat, check_openai_client
from vlm_parity.backends.server.process import ServerProcess, find_free_port
from vlm_parity.backends.server.response import HIDDEN, ServerResponse
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import EngineError, ServerEndedError, UnexpectedResponseError, UnsupportedError


class ResponseReader(Protocol):
    """Reads one engine's answers."""

    def __call__(self, answer: Mapping[str, Any], tokenizer: Any) -> ServerResponse:
        """What the server said.

        Args:
            answer: a chat completion, with the engine's own fields.
            tokenizer: the checkpoint's, from transformers.

        Raises:
            UnexpectedResponseError: it lacks what was asked for.
        """


@dataclass(frozen=True)
class ServerDialect:
    """What is one engine's own of an interface that all of them have."""

    extra_body: Mapping[str, Any]
    """What is asked beyond OpenAI's interface, in the body of the request."""
    hidden_stages: Mapping[Stage, str]
    """What this engine's server does not show beyond what none shows, and why."""
    unsupported_pattern: re.Pattern[str]
    """The words by which the engine says that it does not serve a model or a kind of case."""
    read: ResponseReader


class ServerBackend(Backend):
    """What the engines' backends share where a server stands before the engine."""

    dialect: ClassVar[ServerDialect]

    def start(
        self,
        checkpoint: Checkpoint,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str],
    ) -> None:
        """Starts the server and waits until it is ready.

        Args:
            checkpoint: what it serves.
            command: what starts it on a port of the loopback interface.
            environment: variables that it is given beside those of this process.

        Raises:
            ModuleNotFoundError: this environment has no ``openai`` to ask it with.
            UnsupportedError: it ended, saying that it does not serve the model.
            ServerEndedError: it ended.
        """
        from transformers import AutoTokenizer

        check_openai_client()
        trusted = checkpoint.trust_remote_code
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, trust_remote_code=trusted)
        port = find_free_port()
        self._checkpoint = checkpoint
        self._server = ServerProcess(command(port), port, environment)
        try:
            self._server.wait_until_ready()
        except ServerEndedError as problem:
            said = self._server.find_line(self.dialect.unsupported_pattern)
            if said is not None:
                raise UnsupportedError(said) from problem
            raise
        self._client = ChatClient(self._server, self.dialect.unsupported_pattern)

    def inputs(self, request: Request) -> Inputs:
        """What the server says that the model was fed; ``prepared`` is the whole answer.

        Raises:
            UnsupportedError, RequestRefusedError, EngineError, EngineCrashedError: as ``Client.complete`` does.
        """
        try:
            chat = build_chat(request)
            told = build_processor_kwargs(self._checkpoint, request)
        except ValueError as problem:
            raise UnsupportedError(str(problem)) from problem
        chat["extra_body"] |= {**self.dialect.extra_body, **({"mm_processor_kwargs": told} if told else {})}
        answered = self._client.complete(chat)
        try:
            answer = self.dialect.read(answered, self._tokenizer)
        except UnexpectedResponseError as problem:
            raise EngineError(str(problem)) from problem
        return Inputs(
            prompt=answer.prompt,
            input_ids=answer.input_ids or (),
            spans=None,
            prepared=answer,
            prompt_tokens=answer.prompt_tokens if answer.input_ids is None else None,
            not_captured={**HIDDEN, **self.dialect.hidden_stages},
        )

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        """What came in the same answer: a server follows no continuation but its own."""
        answer: ServerResponse = inputs.prepared
        return answer.outputs()

    def decode_token_texts(self, ids: Iterable[int]) -> dict[int, str]:
        return decode_token_texts(self._tokenizer, ids)

    def close(self) -> None:
        self._server.stop()
