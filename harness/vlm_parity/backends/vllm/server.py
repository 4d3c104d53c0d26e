"""vLLM's own server: how it is started, and what its chat completions say."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vlm_parity.backends.server.backend import ServerBackend, ServerDialect
from vlm_parity.backends.server.chat_client import TOP_LOGPROBS
from vlm_parity.backends.server.process import HOST
from vlm_parity.backends.server.response import (
    Logprobs,
    ServerResponse,
    get_field,
    get_logprob_lists,
    get_single_choice,
)
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.unsupported import UNSUPPORTED_MESSAGES
from vlm_parity.models.checkpoint import Checkpoint

ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1"}
_VLLM_SERVE = ("vllm.entrypoints.cli.main", "serve")
_API_SERVER = ("vllm.entrypoints.openai.api_server", "--model")
_SERVER_ONLY = {"trust_request_mm_kwargs": True}
"""What ``vllm.LLM`` is not told: else a request may not say how many frames a second its videos have."""
_ID = "token_id:"


def build_command(arguments: Mapping[str, Any], port: int) -> list[str]:
    """The server's command, with the arguments that ``vllm.LLM`` takes."""
    options = {name: value for name, value in arguments.items() if name != "model"}
    flags = [word for name, value in options.items() for word in _format_flag(name, value)]
    program = _API_SERVER if _is_command_missing() else _VLLM_SERVE
    return [sys.executable, "-m", *program, arguments["model"], "--host", HOST, "--port", str(port), *flags]


def _is_command_missing() -> bool:
    """Whether ``vllm serve`` cannot start here: it looks for a distribution named vllm, and the CPU build
    is named otherwise.
    """
    try:
        version("vllm")
    except PackageNotFoundError:
        return True
    return False


def _format_flag(name: str, value: Any) -> list[str]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    return [f"--{dashed}", json.dumps(value) if isinstance(value, dict | list) else str(value)]


def read_response(answer: Mapping[str, Any], tokenizer: Any) -> ServerResponse:
    """Reads what vLLM adds to OpenAI's answer: the prompt, its ids and log-probabilities by id."""
    choice = get_single_choice(answer)
    ids = tuple(get_field(answer, "prompt_token_ids"))
    return ServerResponse(
        tokens=tuple(get_field(choice, "token_ids")),
        generated=[_index_by_id(entry["top_logprobs"]) for entry in get_logprob_lists(choice)],
        prompt_tokens=get_field(answer, "usage")["prompt_tokens"],
        input_ids=ids,
        prompt=get_field(answer, "prompt_text"),
        top_logprobs=[_prompt_logprobs(row) for row in get_field(answer, "prompt_logprobs")],
    )


def _index_by_id(top: list[Mapping[str, Any]]) -> Logprobs:
    return {int(entry["token"].removeprefix(_ID)): entry["logprob"] for entry in top}


def _prompt_logprobs(row: Mapping[str, Mapping[str, Any]] | None) -> Logprobs | None:
    return None if row is None else {int(token): said["logprob"] for token, said in row.items()}


DIALECT = ServerDialect(
    extra_body={
        "return_prompt_text": True,
        "return_tokens_as_token_ids": True,
        "prompt_logprobs": TOP_LOGPROBS,
    },
    hidden_stages={},
    unsupported_pattern=UNSUPPORTED_MESSAGES,
    read=read_response,
)


class VllmServerBackend(ServerBackend, VllmBackend):
    """The model runner and everything else as vLLM chooses them; the prefix cache is not read."""

    dialect = DIALECT

    def _mode_arguments(self) -> dict[str, Any]:
        return super()._mode_arguments() | {"enable_prefix_caching": False}

    def load(self, checkpoint: Checkpoint) -> None:
        arguments = self._chosen(checkpoint) | _SERVER_ONLY
        self.applied_engine_args |= _SERVER_ONLY
        if _is_command_missing():
            self.workarounds.append(
                "vllm serve: it ends with PackageNotFoundError where the distribution is not named vllm, so "
                "the same server is started by its module, vllm.entrypoints.openai.api_server"
            )
        self.start(checkpoint, lambda port: build_command(arguments, port), ENVIRONMENT)
