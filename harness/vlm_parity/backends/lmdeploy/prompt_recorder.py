"""What LMDeploy's model agent runs for a prompt: it is made inside the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from vlm_parity.backends.common.modes import EngineStep
from vlm_parity.util.errors import PrivateApiChangedError

_CHUNK_ROWS = 32


class RecordedPrompt:
    """One prompt as the engine ran it, piece by piece, whatever else was in the batch."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._positions: list[np.ndarray] = []
        self._embeddings: list[np.ndarray | None] = []
        self._logits: list[np.ndarray] = []
        self.steps: list[EngineStep] = []
        """The pieces, in order."""
        self.batches: list[int] = []
        """How many requests were in each step of decoding since the prompt has been run."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the prompt has been run, but for a cached start."""
        return bool(self.steps) and self.steps[-1].first + self.steps[-1].count == len(self._ids)

    @property
    def cached_tokens(self) -> int:
        """How many positions at its start were not run."""
        return self.steps[0].first if self.steps else 0

    @property
    def positions(self) -> np.ndarray | None:
        """int64 [axes, positions that were run]"""
        return np.concatenate(self._positions, axis=1) if self._positions else None

    @property
    def embeddings(self) -> np.ndarray | None:
        """float32 [positions that were run, hidden]. The engine embeds a piece without media inside the
        model: its rows are not a number. None where there is no other piece.
        """
        given = next((piece for piece in self._embeddings if piece is not None), None)
        if given is None:
            return None
        pieces = zip(self._embeddings, self.steps, strict=True)
        unseen = (
            piece if piece is not None else np.full((step.count, given.shape[1]), np.nan, np.float32)
            for piece, step in pieces
        )
        return np.concatenate(list(unseen))

    @property
    def logits(self) -> np.ndarray | None:
        """float32 [positions that were run, vocabulary]; None where they were not asked for."""
        return np.concatenate(self._logits) if self._logits else None

    def place(self, inputs: Any) -> tuple[EngineStep, slice] | None:
        """The prompt's next piece among the rows of a step; None where it is not in it."""
        fed = inputs.input_ids[0].tolist()
        lengths, firsts = inputs.seq_length.tolist(), inputs.history_lengths.tolist()
        start = 0
        for first, count in zip(firsts, lengths, strict=True):
            rows = slice(start, start + count)
            start += count
            follows = not self.steps or first == self.steps[-1].first + self.steps[-1].count
            if follows and fed[rows] == self._ids[first : first + count]:
                return EngineStep(first, count, len(lengths)), rows
        return None

    def take(
        self,
        step: EngineStep,
        positions: np.ndarray,
        embeddings: np.ndarray | None,
        logits: np.ndarray | None,
    ) -> None:
        """Adds a piece."""
        self.steps.append(step)
        self._positions.append(positions)
        self._embeddings.append(embeddings)
        if logits is not None:
            self._logits.append(logits)


class PromptRecorder:
    """Watches the model agent of an engine that runs in this process."""

    def __init__(self, engine: Any) -> None:
        """Args:
            engine: the ``async_engine`` of a pipeline.

        Raises:
            PrivateApiChangedError: the engine has no model agent here, or what is watched has moved.
        """
        try:
            self._agent = engine.engine.executor.model_agent
            self._forward = self._agent._forward_impl
            self._project = self._agent.get_logits
            model = self._agent.patched_model.get_model()
            self._language_model = getattr(model, "language_model", None) or model.model
        except AttributeError as problem:
            raise PrivateApiChangedError(
                f"LMDeploy's async_engine.engine.executor.model_agent: {problem}"
            ) from problem

    @contextmanager
    def watching(self, ids: Sequence[int], *, logits: bool) -> Iterator[RecordedPrompt]:
        """Yields what is filled by the first run of a prompt in the block.

        Args:
            ids: the prompt.
            logits: whether to project all of its rows with the model's own head.
        """
        found = RecordedPrompt(ids)

        def forward(inputs: Any, *others: Any, **options: Any) -> Any:
            if inputs.is_decoding:
                if found.is_whole:
                    found.batches.append(len(inputs.seq_length))
                return self._forward(inputs, *others, **options)
            place = None if found.is_whole else found.place(inputs)
            if place is None:
                return self._forward(inputs, *others, **options)
            step, rows = place
            with self._embeddings() as embeddings:
                output = self._forward(inputs, *others, **options)
            given = embeddings[0][rows] if embeddings else None
            found.take(step, _read_positions(inputs)[:, rows], given, self._rows(output, rows, logits))
            return output

        self._agent._forward_impl = forward
        try:
            yield found
        finally:
            self._agent._forward_impl = self._forward

    def _rows(self, output: Any, rows: slice, wanted: bool) -> np.ndarray | None:
        if not wanted:
            return None
        hidden = output["hidden_states"][0][rows]
        starts = range(0, len(hidden), _CHUNK_ROWS)
        pieces = (self._project(hidden[start : start + _CHUNK_ROWS][None])[0] for start in starts)
        return np.concatenate([piece.float().cpu().numpy() for piece in pieces])

    @contextmanager
    def _embeddings(self) -> Iterator[list[np.ndarray]]:
        """Collects what the language model is given while the block runs, float32 [rows, hidden]."""
        found: list[np.ndarray] = []

        def take(_: Any, __: Any, given: dict[str, Any]) -> None:
            if given.get("inputs_embeds") is not None:
                found.append(given["inputs_embeds"][0].float().cpu().numpy().copy())

        hook = self._language_model.register_forward_pre_hook(take, with_kwargs=True)
        try:
            yield found
        finally:
            hook.remove()


def _read_positions(inputs: Any) -> np.ndarray:
    """int64 [axes, rows of the step]"""
    if inputs.mrope_pos_ids is not None:
        mrope: np.ndarray = inputs.mrope_pos_ids.cpu().numpy().astype(np.int64)
        return mrope
    lengths, firsts = inputs.seq_length.tolist(), inputs.history_lengths.tolist()
    places = [np.arange(first, first + count) for first, count in zip(firsts, lengths, strict=True)]
    return np.concatenate(places).astype(np.int64)[None]
