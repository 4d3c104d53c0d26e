"""LMDeploy's configuration of its PyTorch engine, also where its constructor knows a GPU only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.base import Device

REFUSED_MODEL = re.compile(
    r"Can not found rewrite for|has been removed from LMDeploy|unsupported vl model|> is not implemented"
    r"|Build spec \w+ is not supported by cpu backend"
)


def build_engine_config(chosen: Mapping[str, Any], device: Device) -> Any:
    """A ``PytorchEngineConfig`` with the arguments that were chosen."""
    from lmdeploy import PytorchEngineConfig

    # The constructor asserts that these two are of a GPU's world; later nothing does.
    late = {name: value for name, value in chosen.items() if name in {"device_type", "dtype"}}
    early = chosen if device == "cuda" else {**chosen, **dict.fromkeys(late)}
    config = PytorchEngineConfig(**{name: value for name, value in early.items() if value is not None})
    if device == "cpu":
        for name, value in late.items():
            setattr(config, name, value)
    return config
