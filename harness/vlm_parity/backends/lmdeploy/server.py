"""LMDeploy's own api_server: its command line, and its extensions of chat completions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.backends.lmdeploy.chat import REFUSED_CASE, select_arguments
from vlm_parity.backends.lmdeploy.engine_config import REFUSED_MODEL
from vlm_parity.backends.server.backend import ServerBackend, ServerDialect
from vlm_parity.backends.server.port import HOST
from vlm_parity.backends.server.response import (
    Logprobs,
    ServerResponse,
    get_field,
    get_logprob_lists,
    get_single_choice,
)
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.engine_setup import Depth, Device
from vlm_parity.schema.trace import Stage

_FLAGS = {"block_size": "cache-block-seq-len", "device_type": "device"}
"""Names of ``PytorchEngineConfig`` for which the command line has different ones."""


def build_command(
    checkpoint: Checkpoint, arguments: Mapping[str, Any], device: Device, port: int
) -> list[str]:
    """Return the command line: ``lmdeploy serve api_server`` on a GPU, the module ``cpu.serve`` on a CPU.

    Args:
        checkpoint: the model to serve.
        arguments: of ``PytorchEngineConfig``.
        device: on which to run.
        port: of the loopback interface.
    """
    # The checkpoint's own generation config has penalties.
    options = {"server_name": HOST, "server_port": port, "generation_config": "lmdeploy"}
    trusted = checkpoint.trust_remote_code
    if device == "cpu":
        module, options = "vlm_parity.backends.lmdeploy.cpu.serve", {**options, "trust_remote_code": trusted}
        words = map(json.dumps, (dict(arguments), options))
        return [sys.executable, "-m", module, str(checkpoint.path), *words]
    flags = [word for name, value in {**options, **arguments}.items() for word in _format_flag(name, value)]
    serve = [sys.executable, "-m", "lmdeploy", "serve", "api_server", str(checkpoint.path)]
    return [*serve, "--backend", "pytorch", *flags, *(["--trust-remote-code"] if trusted else [])]


def _format_flag(name: str, value: Any) -> list[str]:
    flag = f"--{_FLAGS.get(name, name).replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, json.dumps(value) if isinstance(value, dict | list) else str(value)]


def read_response(completion: Mapping[str, Any], tokenizer: Any) -> ServerResponse:
    """Convert a chat completion; LMDeploy adds the generated ids.

    Listed tokens are entries of the vocabulary, which are unique to an id.

    Raises:
        UnexpectedResponseError: a requested field is missing.
    """
    choice = get_single_choice(completion)
    tokens = tuple(get_field(choice, "output_ids"))
    lists = zip(tokens, get_logprob_lists(choice), strict=False)
    return ServerResponse(
        tokens=tokens,
        generated=[_index_by_id(token, entry, tokenizer) for token, entry in lists],
        prompt_tokens=get_field(completion, "usage")["prompt_tokens"],
    )


def _index_by_id(token: int, entry: Mapping[str, Any], tokenizer: Any) -> Logprobs:
    listed = entry["top_logprobs"]
    ids = tokenizer.convert_tokens_to_ids([other["token"] for other in listed])
    pairs = zip(ids, listed, strict=True)
    return {token: entry["logprob"]} | {i: other["logprob"] for i, other in pairs if i is not None}


DIALECT = ServerDialect(
    extra_body={},
    hidden_stages={Stage.PROMPT: "a chat completion does not show it"},
    unsupported_pattern=re.compile(
        f"{REFUSED_CASE.pattern}|{REFUSED_MODEL.pattern}|launch the api_server with --tool-call-parser", re.I
    ),
    read_response=read_response,
    select_template_arguments=select_arguments,
)


class LmdeployServerBackend(ServerBackend, LmdeployBackend):
    """LMDeploy's server: unchanged on a GPU, with the redirections in ``workarounds`` on a CPU."""

    dialect = DIALECT

    def _get_mode_args(self, length: int) -> dict[str, Any]:
        # By default the server lists no log-probabilities.
        return super()._get_mode_args(length) | {"logprobs_mode": "raw_logprobs"}

    def load(self, checkpoint: Checkpoint) -> None:
        device, arguments = self.settings.device, self._select_engine_args()
        if device == "cpu":
            from vlm_parity.backends.lmdeploy.cpu.engine_process import NOTES
            from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu

            with ExitStack() as redirected:  # so that a missing name raises in this process already
                self.workarounds += [*redirect_to_cpu(redirected, Depth.LOGITS), *NOTES]
        self.start(checkpoint, lambda port: build_command(checkpoint, arguments, device, port), {})
