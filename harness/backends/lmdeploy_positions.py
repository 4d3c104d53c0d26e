"""The positions that LMDeploy's rotary embedding is given: they are made inside its engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.backends.base import MissingInternal


class PositionRecorder:
    """Watches the model agent of an engine that runs in this process."""

    def __init__(self, engine: Any) -> None:
        """
        Args:
            engine: the ``async_engine`` of a pipeline.

        Raises:
            MissingInternal: the engine has no model agent here, or its forward step has moved.
        """
        try:
            self._agent = engine.engine.executor.model_agent
            self._forward = self._agent._forward_impl
        except AttributeError as problem:
            raise MissingInternal(
                f"LMDeploy's async_engine.engine.executor.model_agent: {problem}"
            ) from problem

    @contextmanager
    def first_prefill(self) -> Iterator[list[np.ndarray]]:
        """Collects the positions of the first prompt that is run in the block.

        Yields:
            A list that gets one array, int64 [axes, prompt positions].
        """
        found: list[np.ndarray] = []

        def forward(inputs: Any, *others: Any, **options: Any) -> Any:
            if not found and not inputs.is_decoding:
                found.append(_positions(inputs))
            return self._forward(inputs, *others, **options)

        self._agent._forward_impl = forward
        try:
            yield found
        finally:
            self._agent._forward_impl = self._forward


def _positions(inputs: Any) -> np.ndarray:
    if inputs.mrope_pos_ids is not None:
        mrope: np.ndarray = inputs.mrope_pos_ids.cpu().numpy().astype(np.int64)
        return mrope
    start = int(inputs.history_lengths[0])
    return np.arange(start, start + inputs.input_ids.shape[1], dtype=np.int64)[None]
