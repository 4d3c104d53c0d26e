"""Positions, embeddings and logits of a prompt, recorded inside LMDeploy's engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from vlm_parity.backends.common.deep_features import join_deep_features
from vlm_parity.backends.common.modes import EngineStep
from vlm_parity.backends.common.module_recorder import ModuleRecorder, StepRows
from vlm_parity.backends.lmdeploy.arguments import change_arguments
from vlm_parity.backends.lmdeploy.given_values import DEEP_FEATURES, DEEP_MASK, GivenValues, find_rows
from vlm_parity.util.errors import PrivateApiChangedError

_CHUNK_ROWS = 32


class RecordedPrompt:
    """One prompt as the engine ran it, piece by piece, regardless of the rest of the batch."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Prepare an empty record.

        Args:
            ids: of the prompt, by which its rows are found.
        """
        self.ids = list(ids)
        self._positions: list[np.ndarray] = []
        self._embeddings: list[np.ndarray | None] = []
        self._logits: list[np.ndarray] = []
        self.steps: list[EngineStep] = []
        """The pieces, in order."""
        self.batches: list[int] = []
        """Number of requests in each decoding step since the prompt was complete."""
        self.deep_levels = 0
        """As in ``vlm_parity.backends.base.Outputs``."""
        self.error: Exception | None = None
        """The error that ended the recording. The engine must not see it: its loop would end with it, as if
        it had failed itself."""

    @property
    def is_complete(self) -> bool:
        """True if the whole prompt has been run, except for a cached start."""
        return bool(self.steps) and self.steps[-1].first + self.steps[-1].count == len(self.ids)

    @property
    def cached_tokens(self) -> int:
        """Number of positions at the start that were not run."""
        return self.steps[0].first if self.steps else 0

    @property
    def positions(self) -> np.ndarray | None:
        """Rotary positions: int64 [axes, positions that were run]."""
        return np.concatenate(self._positions, axis=1) if self._positions else None

    @property
    def embeddings(self) -> np.ndarray | None:
        """Inputs of the language model: float32 [positions that were run, hidden * (1 + deep levels)].

        The engine embeds pieces without media inside the model: their rows are NaN. Pieces without deep
        features have zeros there. None if all are embedded inside the model.
        """
        width = max((piece.shape[1] for piece in self._embeddings if piece is not None), default=0)
        if not width:
            return None
        pieces = [
            np.full((step.count, width), np.nan, np.float32)
            if piece is None
            else np.pad(piece, ((0, 0), (0, width - piece.shape[1])))
            for piece, step in zip(self._embeddings, self.steps, strict=True)
        ]
        return np.concatenate(pieces)

    @property
    def logits(self) -> np.ndarray | None:
        """Raw logits: float32 [positions that were run, vocabulary]; None if they were not requested."""
        return np.concatenate(self._logits) if self._logits else None

    def locate(self, inputs: Any) -> tuple[EngineStep, slice] | None:
        """Find the next piece of the prompt among the rows of a step; None if it is not there.

        Args:
            inputs: LMDeploy's ``ModelInputs``.
        """
        for first, rows in find_rows(inputs, self.ids):
            if not self.steps or first == self.steps[-1].first + self.steps[-1].count:
                return EngineStep(first, rows.stop - rows.start, len(inputs.seq_length)), rows
        return None

    def add_step(
        self,
        step: EngineStep,
        positions: np.ndarray,
        embeddings: np.ndarray | None,
        logits: np.ndarray | None,
    ) -> None:
        """Append a piece.

        Args:
            step: from ``locate``.
            positions: int64 [axes, rows].
            embeddings: float32 [rows, hidden]; None if the engine embeds the piece inside the model.
            logits: float32 [rows, vocabulary]; None if they are not recorded.
        """
        self.steps.append(step)
        self._positions.append(positions)
        self._embeddings.append(embeddings)
        if logits is not None:
            self._logits.append(logits)


class PromptRecorder:
    """Records prompts in the model agent of an engine that runs in this process."""

    def __init__(self, engine: Any) -> None:
        """Find the model agent.

        Args:
            engine: the ``async_engine`` of a pipeline.

        Raises:
            PrivateApiChangedError: the engine has no model agent in this process, or LMDeploy has moved a
                name.
        """
        try:
            self._agent = engine.engine.executor.model_agent
            self._forward = self._agent._forward_impl
            self._project = self._agent.get_logits
            model = self._agent.patched_model.get_model()
            self._language_model = getattr(model, "language_model", None) or model.model
            self._embed = model.get_input_embeddings()
            self.masks_need_pixels = hasattr(model, "prepare_attn_masks")
        except AttributeError as error:
            raise PrivateApiChangedError(
                f"LMDeploy's async_engine.engine.executor.model_agent: {error}"
            ) from error

    @contextmanager
    def give(self, values: GivenValues) -> Iterator[None]:
        """Let a prompt run on given values while the block runs; other requests run as always.

        Raises:
            Exception: a value could not be given. The engine has run on its own then, and does not see it.
        """
        own_forward = self._forward
        errors: list[Exception] = []

        def forward(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            def set_features(arguments: dict[str, Any]) -> dict[str, Any]:
                try:
                    return values.set_features(inputs, self._embed, arguments)
                except Exception as error:
                    errors.append(error)
                    return arguments

            try:
                values.set_positions(inputs)
            except Exception as error:
                errors.append(error)
            with change_arguments(self._language_model, set_features):
                return own_forward(inputs, *args, **kwargs)

        self._agent._forward_impl = self._forward = forward
        try:
            yield
        finally:
            self._agent._forward_impl = self._forward = own_forward
            if errors:
                raise errors[0]

    @contextmanager
    def record(self, ids: Sequence[int], *, logits: bool) -> Iterator[RecordedPrompt]:
        """Record the first run of a prompt while the block runs.

        Args:
            ids: of the prompt.
            logits: whether to compute the logits of all of its rows with the model's own head.

        Raises:
            Exception: the recording failed.
        """
        prompt = RecordedPrompt(ids)

        def forward(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            location = self._try_to_locate(prompt, inputs)
            if location is None:
                return self._forward(inputs, *args, **kwargs)
            with self._record_embeddings(prompt) as embeddings:
                output = self._forward(inputs, *args, **kwargs)
            try:
                step, rows = location
                prompt.add_step(
                    step,
                    _read_positions(inputs)[:, rows],
                    embeddings[0][rows] if embeddings else None,
                    self._compute_logits(output, rows) if logits else None,
                )
            except Exception as error:
                prompt.error = prompt.error or error
            return output

        self._agent._forward_impl = forward
        try:
            yield prompt
        finally:
            self._agent._forward_impl = self._forward
            if prompt.error is not None:
                raise prompt.error

    def build_module_recorder(self, within: str) -> ModuleRecorder:
        """Return a recorder of the model's modules, not active yet.

        Args:
            within: as for ``ModuleRecorder``.
        """
        return ModuleRecorder(self._agent.patched_model.get_model(), within)

    @contextmanager
    def record_modules(self, recorder: ModuleRecorder, ids: Sequence[int], count: int) -> Iterator[None]:
        """Record the modules of a prompt and of the decoding steps after it while the block runs.

        Args:
            recorder: from ``build_module_recorder``.
            ids: of the prompt.
            count: number of decoding steps; LMDeploy may compute more.
        """
        prompt = RecordedPrompt(ids)
        own_forward = self._forward
        decoded = 0

        def forward(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal decoded
            recorder.is_active = False
            rows = None
            try:
                rows = self._find_step_rows(prompt, decoded, inputs)
            except Exception as error:  # the engine's loop would end with it
                recorder.error = recorder.error or error
            if rows is None or (inputs.is_decoding and decoded == count):
                return own_forward(inputs, *args, **kwargs)
            recorder.begin_step()
            output = own_forward(inputs, *args, **kwargs)
            recorder.end_step(rows)  # the head runs after it
            if inputs.is_decoding:
                decoded += 1
            else:
                prompt.steps.append(EngineStep(rows.first, rows.count, len(inputs.seq_length)))
            return output

        self._agent._forward_impl = self._forward = forward
        try:
            yield
        finally:
            recorder.is_active = False
            self._agent._forward_impl = self._forward = own_forward

    @staticmethod
    def _find_step_rows(prompt: RecordedPrompt, decoded: int, inputs: Any) -> StepRows | None:
        """Return the rows of a prompt in a step; in those of decoding only if no other request runs.

        A decoding step in a batch does not tell whose row is which.
        """
        total = inputs.input_ids.shape[1]
        if inputs.is_decoding:
            first = len(prompt.ids) + decoded
            is_alone = prompt.is_complete and total == 1 and inputs.history_lengths.tolist() == [first]
            return StepRows(first, 0, 1, 1) if is_alone else None
        found = None if prompt.is_complete else prompt.locate(inputs)
        if found is None:
            return None
        step, rows = found
        return StepRows(step.first, rows.start, rows.stop - rows.start, total)

    @staticmethod
    def _try_to_locate(prompt: RecordedPrompt, inputs: Any) -> tuple[EngineStep, slice] | None:
        """Return the piece of the prompt in a step, None if there is none to record."""
        if prompt.error is not None:
            return None
        try:
            if not inputs.is_decoding:
                return None if prompt.is_complete else prompt.locate(inputs)
            if prompt.is_complete:
                prompt.batches.append(len(inputs.seq_length))
        except Exception as error:
            prompt.error = error
        return None

    def _compute_logits(self, output: Any, rows: slice) -> np.ndarray:
        hidden = output["hidden_states"][0][rows]
        starts = range(0, len(hidden), _CHUNK_ROWS)
        pieces = (self._project(hidden[start : start + _CHUNK_ROWS][None])[0] for start in starts)
        return np.concatenate([piece.float().cpu().numpy() for piece in pieces])

    @contextmanager
    def _record_embeddings(self, prompt: RecordedPrompt) -> Iterator[list[np.ndarray]]:
        """Collect the inputs of the language model while the block runs, as in ``Outputs.embeddings``."""
        embeddings: list[np.ndarray] = []

        def record(kwargs: dict[str, Any]) -> dict[str, Any]:
            try:
                if kwargs.get("inputs_embeds") is not None:
                    embeddings.append(_read_embeddings(kwargs))
                    prompt.deep_levels = max(prompt.deep_levels, len(kwargs.get(DEEP_FEATURES) or ()))
            except Exception as error:
                prompt.error = prompt.error or error
            return kwargs

        with change_arguments(self._language_model, record):
            yield embeddings


def _read_embeddings(kwargs: Mapping[str, Any]) -> np.ndarray:
    """Return the embeddings of a step: float32 [rows, hidden * (1 + deep levels)]."""
    mask = kwargs.get(DEEP_MASK)
    rows = mask[0, :, 0] if mask is not None else None
    joined = join_deep_features(kwargs["inputs_embeds"][0], rows, kwargs.get(DEEP_FEATURES))
    embeddings: np.ndarray = joined.float().cpu().numpy().copy()
    return embeddings


def _read_positions(inputs: Any) -> np.ndarray:
    """Return the rotary positions of a step: int64 [axes, rows]."""
    if inputs.mrope_pos_ids is not None:
        mrope: np.ndarray = inputs.mrope_pos_ids.cpu().numpy().astype(np.int64)
        return mrope
    lengths, firsts = inputs.seq_length.tolist(), inputs.history_lengths.tolist()
    ranges = [np.arange(first, first + count) for first, count in zip(firsts, lengths, strict=True)]
    return np.concatenate(ranges).astype(np.int64)[None]
