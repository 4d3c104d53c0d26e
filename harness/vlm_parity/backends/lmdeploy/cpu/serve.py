"""LMDeploy's own api_server on the CPU, with the redirections in both of its processes.

Run as ``python -m vlm_parity.backends.lmdeploy.cpu.serve MODEL CONFIG OPTIONS``, the last two in JSON.
LMDeploy's command line accepts only the dtypes of GPUs, so its ``serve`` is called with the configuration
itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from vlm_parity.backends.lmdeploy.cpu.engine_process import redirect_engine_process
from vlm_parity.backends.lmdeploy.cpu.internals import PrivateApi
from vlm_parity.backends.lmdeploy.cpu.redirect import redirect_to_cpu
from vlm_parity.backends.lmdeploy.engine_config import build_engine_config
from vlm_parity.schema.engine_setup import Depth

SERVE = PrivateApi(
    "lmdeploy.serve.openai.api_server",
    "serve",
    ("model_path", "backend", "backend_config", "server_name", "server_port", "generation_config"),
)


def main(model: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Serve a model until a signal ends the process.

    Args:
        model: folder of the checkpoint.
        arguments: of ``PytorchEngineConfig``.
        options: arguments of LMDeploy's ``serve``.
    """
    with ExitStack() as redirected:
        redirect_to_cpu(redirected, Depth.LOGITS)
        redirect_engine_process(redirected)
        config = build_engine_config(arguments, "cpu")
        SERVE.find()[2](model, backend="pytorch", backend_config=config, **options)


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:4]))
