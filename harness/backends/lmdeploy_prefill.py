"""What LMDeploy's language model is given for a prompt: it is made inside the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.base import MissingInternal


@dataclass
class Prefill:
    """The first prompt that was run while it was watched."""

    positions: np.ndarray | None = None
    """int64 [axes, prompt positions]"""
    embeddings: np.ndarray | None = None
    """float32 [prompt positions, hidden]; None where the engine embeds the ids inside the model, as it
    does for a prompt without media."""


class PrefillRecorder:
    """Watches the model agent of an engine that runs in this process."""

    def __init__(self, engine: Any) -> None:
        """
        Args:
            engine: the ``async_engine`` of a pipeline.

        Raises:
            MissingInternal: the engine has no model agent here, or what is watched has moved.
        """
        try:
            self._agent = engine.engine.executor.model_agent
            self._forward = self._agent._forward_impl
            model = self._agent.patched_model.get_model()
            self._language_model = getattr(model, "language_model", None) or model.model
        except AttributeError as problem:
            raise MissingInternal(
                f"LMDeploy's async_engine.engine.executor.model_agent: {problem}"
            ) from problem

    @contextmanager
    def first(self) -> Iterator[Prefill]:
        """Yields what is filled by the first prompt that is run in the block."""
        found = Prefill()

        def forward(inputs: Any, *others: Any, **options: Any) -> Any:
            if found.positions is None and not inputs.is_decoding:
                found.positions = _positions(inputs)
                with self._embeddings(found):
                    return self._forward(inputs, *others, **options)
            return self._forward(inputs, *others, **options)

        self._agent._forward_impl = forward
        try:
            yield found
        finally:
            self._agent._forward_impl = self._forward

    @contextmanager
    def _embeddings(self, found: Prefill) -> Iterator[None]:
        def take(_: Any, __: Any, given: dict[str, Any]) -> None:
            if given.get("inputs_embeds") is not None:
                found.embeddings = given["inputs_embeds"][0].float().cpu().numpy().copy()

        hook = self._language_model.register_forward_pre_hook(take, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def _positions(inputs: Any) -> np.ndarray:
    if inputs.mrope_pos_ids is not None:
        mrope: np.ndarray = inputs.mrope_pos_ids.cpu().numpy().astype(np.int64)
        return mrope
    start = int(inputs.history_lengths[0])
    return np.arange(start, start + inputs.input_ids.shape[1], dtype=np.int64)[None]
