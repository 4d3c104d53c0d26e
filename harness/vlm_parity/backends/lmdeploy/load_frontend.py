"""LMDeploy's frontend without an engine: the task of a model, and its processor."""

from __future__ import annotations

from typing import Any

from vlm_parity.models.checkpoint import Checkpoint


def select_task(checkpoint: Checkpoint, config: Any) -> str:
    """Return LMDeploy's task for a model: ``vlm`` or ``llm``.

    Args:
        checkpoint: the model.
        config: a ``PytorchEngineConfig``.

    Raises:
        RuntimeError: LMDeploy does not support the architecture. An engine would instead fail at a key that
            the model's configuration lacks.
    """
    from lmdeploy.archs import get_model_arch, get_task
    from lmdeploy.pytorch.models import module_map, patch

    path, trusted = str(checkpoint.path), {"trust_remote_code": checkpoint.trust_remote_code}
    task: str = get_task("pytorch", path, backend_config=config, **trusted)[0]
    if task != "vlm":
        patch._get_model_class(get_model_arch(path, **trusted)[1], module_map.MODULE_MAP)
    return task


def build_processor(checkpoint: Checkpoint, config: Any) -> Any:
    """Return the ``MultimodalProcessor`` that a pipeline would build, without its engine and weights.

    Args:
        checkpoint: the model.
        config: a ``PytorchEngineConfig``.

    Raises:
        RuntimeError, ValueError: LMDeploy does not support the architecture.
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
