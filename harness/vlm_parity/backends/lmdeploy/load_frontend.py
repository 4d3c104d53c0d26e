"""Loads LMDeploy's front end, and asks it which models it serves, without an engine."""

from __future__ import annotations

from typing import Any

from vlm_parity.models.checkpoint import Checkpoint


def select_task(checkpoint: Checkpoint, config: Any) -> str:
    """What LMDeploy takes a model for: ``vlm``, or ``llm``.

    Raises:
        RuntimeError: it has no such architecture. An engine that is started would read the configuration
            first, and fail over a name that it does not find there.
    """
    from lmdeploy.archs import get_model_arch, get_task
    from lmdeploy.pytorch.models import module_map, patch

    path, trusted = str(checkpoint.path), {"trust_remote_code": checkpoint.trust_remote_code}
    task: str = get_task("pytorch", path, backend_config=config, **trusted)[0]
    if task != "vlm":
        patch._get_model_class(get_model_arch(path, **trusted)[1], module_map.MODULE_MAP)
    return task


def build_processor(checkpoint: Checkpoint, config: Any) -> Any:
    """The ``MultimodalProcessor`` that a pipeline would build, without its engine and weights.

    Raises:
        RuntimeError, ValueError: LMDeploy has no such architecture.
    """
    from lmdeploy.model import get_chat_template
    from lmdeploy.serve.processors import MultimodalProcessor
    from lmdeploy.tokenizer import Tokenizer
    from lmdeploy.vl.engine import ImageEncoder

    path, trusted = str(checkpoint.path), {"trust_remote_code": checkpoint.trust_remote_code}
    encoder = None
    if select_task(checkpoint, config) == "vlm":
        encoder = ImageEncoder(path, "pytorch", backend_config=config, **trusted)
    return MultimodalProcessor(
        Tokenizer(path, **trusted), get_chat_template(path, **trusted), vl_encoder=encoder, backend="pytorch"
    )
