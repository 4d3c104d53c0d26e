"""LMDeploy's configuration of its PyTorch engine, for GPUs and CPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vlm_parity.schema.engine_setup import Device

REFUSED_MODEL = re.compile(
    r"Can not found rewrite for|has been removed from LMDeploy|unsupported vl model|> is not implemented"
    r"|Build spec \w+ is not supported by cpu backend"
)
"""Errors about models that LMDeploy does not support."""


def build_engine_config(arguments: Mapping[str, Any], device: Device) -> Any:
    """Return a ``PytorchEngineConfig``.

    Args:
        arguments: of its constructor.
        device: on a CPU, arguments that the constructor rejects are set afterwards.
    """
    from lmdeploy import PytorchEngineConfig

    # Only the constructor asserts that these two suit a GPU.
    late = {name: value for name, value in arguments.items() if name in {"device_type", "dtype"}}
    early = arguments if device == "cuda" else {**arguments, **dict.fromkeys(late)}
    config = PytorchEngineConfig(**{name: value for name, value in early.items() if value is not None})
    if device == "cpu":
        for name, value in late.items():
            setattr(config, name, value)
    return config
