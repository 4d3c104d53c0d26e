"""Extension of vLLM's workers that records the full-vocabulary logits of every position that is run.

``execute_model`` of the V1 model runner keeps the hidden states of all scheduled rows until it samples. The
extension computes their logits with the model's own head. For rows that the sampler reads it copies the
sampler's own tensor, because the engine generates from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_parity.backends.common.module_recorder import ModuleRecorder, StepRows
from vlm_parity.backends.vllm.given_values import GivenValues
from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.util.error_origin import describe_harness_error, is_harness_error
from vlm_parity.util.errors import PrivateApiChangedError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import torch

_CHUNK_ROWS = 32  # rows of logits: 20 MB at 150,000 tokens, which fit a CPU's cache
_STATE_FIELDS = ("logits", "hidden_states")
_RUNNER_FIELDS = ("input_batch", "query_start_loc", "input_ids", "supports_mm_inputs")
_PATCHED = ("execute_model", "_model_forward")
_DEEP_FEATURES, _DEEP_ROWS = "deepstack_input_embeds", "deepstack_input_embeds_num_tokens"
"""Attributes of a model with deep features: a buffer for each level, and their number of rows in use."""


class CaptureExtension:
    """Mixin for vLLM's worker class; its methods are called by ``collective_rpc``."""

    if TYPE_CHECKING:
        model_runner: Any
        rank: int
    _recorded_modules: ModuleRecorder

    def parity_arm(self, request: str, prompt: int, positions: int) -> None:
        """Start to record a request; discard earlier records.

        Args:
            request: its id inside the engine, as returned by ``LLMEngine.add_request``.
            prompt: number of positions of its prompt.
            positions: maximum number of positions that it will run.
        """
        runner = self.model_runner
        _patch_runner(runner)
        runner.parity_recorder = Recorder(runner, request, prompt, positions)

    def parity_find_error(self) -> tuple[bool, str] | None:
        """Return the error that ended the recording, None if there was none.

        It is data, because a worker in another process would raise it as an error of vLLM.

        Returns:
            Whether it is the harness's, and its description.
        """
        error = self.model_runner.parity_recorder.error
        if error is None:
            return None
        if is_harness_error(error):
            return True, describe_harness_error(error)
        return False, f"{type(error).__name__}: {error}"

    def parity_collect(self) -> tuple[list[tuple[int, int, int]], list[int], int, dict[str, np.ndarray]]:
        """Stop recording.

        Returns:
            The steps, each with the position of its first row, its rows, and the requests in it; the ids that
            were run, one per position; the number of deep levels; and arrays, from rank 0 only: ``rows``
            (float32 [positions, vocabulary]), ``positions`` (int64 [axes, positions]) and, if the model
            accepts media, ``embeddings`` (float32 [positions, hidden * (1 + deep levels)]).
        """
        recorder: Recorder = self.model_runner.parity_recorder
        self.model_runner.parity_recorder = None
        arrays = recorder.build_arrays() if self.rank == 0 else {}
        return recorder.steps, recorder.ids, recorder.deep_levels, arrays

    def parity_give(
        self,
        ids: list[int],
        positions: tuple[np.ndarray, int] | None,
        features: dict[str, np.ndarray],
        is_normalized: bool,
    ) -> None:
        """Run the prompt with these ids on given values, until ``parity_take_back``.

        Args:
            ids: of the prompt.
            positions: as for ``GivenValues``.
            features: likewise.
            is_normalized: likewise.

        Raises:
            PrivateApiChangedError: vLLM's model runner lacks a method.
        """
        self.model_runner.parity_given = GivenValues(
            self.model_runner, ids, positions, features, is_normalized=is_normalized
        )

    def parity_record_modules(self, within: str) -> None:
        """Record the modules of the armed request's steps, until ``parity_stop_recording_modules``.

        Args:
            within: as for ``ModuleRecorder``.
        """
        _patch_runner(self.model_runner)
        self._recorded_modules = ModuleRecorder(self.model_runner.get_model(), within)
        self.model_runner.parity_modules = self._recorded_modules

    def parity_stop_recording_modules(self) -> None:
        """Stop recording modules, and remove the hooks."""
        self.model_runner.parity_modules = None
        self._recorded_modules.close()

    def parity_write_modules(self, folder: str, input_ids: tuple[int, ...], dtype: Dtype) -> str:
        """Write the recorded modules; the arguments are those of ``ModuleRecorder.write``.

        Returns:
            The reason why there is nothing to write; empty if there was.
        """
        try:
            self._recorded_modules.write(Path(folder), input_ids, dtype)
        except UnsupportedError as error:
            return str(error)
        finally:
            del self._recorded_modules
        return ""

    def parity_take_back(self) -> None:
        """End what ``parity_give`` began."""
        self.model_runner.parity_given.restore()


def _patch_runner(runner: Any) -> None:
    if hasattr(runner, "parity_recorder"):
        return
    runner.parity_recorder = runner.parity_modules = None
    _check_private_names(runner, _PATCHED, f"{type(runner).__module__}.{type(runner).__name__}")
    execute, forward = runner.execute_model, runner._model_forward

    def execute_model(*arguments: Any, **options: Any) -> Any:
        recorder, modules = runner.parity_recorder, runner.parity_modules
        if recorder is not None and modules is not None:
            modules.begin_step()
        result = execute(*arguments, **options)
        if recorder is not None and result is None:
            if modules is not None:
                modules.is_active = False  # the recorder calls the model's head
            recorder.try_to(Recorder.record)
            if modules is not None and recorder.last_rows is not None:
                modules.end_step(recorder.last_rows)
        return result

    def model_forward(*arguments: Any, **options: Any) -> Any:
        if runner.parity_recorder is not None:
            runner.parity_recorder.try_to(Recorder.copy_deep_features)
        return forward(*arguments, **options)

    runner.execute_model, runner._model_forward = execute_model, model_forward


class Recorder:
    """The rows of one request, in the order of its positions, regardless of the rest of the batch."""

    def __init__(self, runner: Any, request: str, prompt: int, positions: int) -> None:
        """Prepare an empty record.

        Args:
            runner: vLLM's V1 model runner.
            request: as for ``CaptureExtension.parity_arm``.
            prompt: likewise.
            positions: likewise.
        """
        self._runner, self._request, self._prompt, self._expected = runner, request, prompt, positions
        self._rows: torch.Tensor | None = None
        self._positions: list[torch.Tensor] = []
        self._embeddings: list[torch.Tensor] = []
        self._deep: list[torch.Tensor] | None = None
        self.steps: list[tuple[int, int, int]] = []
        self.ids: list[int] = []
        self.last_rows: StepRows | None = None
        """The request's rows in the last step; None if it had none."""
        self.error: Exception | None = None
        """The error that ended the recording."""

    @property
    def deep_levels(self) -> int:
        """As in ``vlm_parity.backends.base.Outputs``."""
        return len(getattr(self._runner.model, _DEEP_FEATURES, None) or ())

    def try_to(self, method: Callable[[Recorder], None]) -> None:
        """Call a method and keep any error: a runner whose step raises would accept no further ones."""
        try:
            if self.error is None:
                method(self)
        except Exception as error:
            self.error = error

    def copy_deep_features(self) -> None:
        """Copy the deep features of the step that is about to run; the model clears them afterwards.

        Raises:
            PrivateApiChangedError: the model lacks an attribute.
        """
        if not self.deep_levels:
            return
        model = self._runner.model
        _check_private_names(model, (_DEEP_ROWS,), f"{type(model).__module__}.{type(model).__name__}")
        rows = getattr(model, _DEEP_ROWS)
        self._deep = [level[:rows].clone() for level in getattr(model, _DEEP_FEATURES)] if rows else None

    def record(self) -> None:
        """Copy the request's rows of the step that was just run, if it had any.

        Raises:
            PrivateApiChangedError: vLLM's model runner lacks an attribute.
            RuntimeError: the rows do not follow those of the step before.
        """
        import torch

        self.last_rows = None
        state = self._get_state()
        batch = self._runner.input_batch
        requests = batch.req_ids[: batch.num_reqs]
        if self._request not in requests:
            return
        index = requests.index(self._request)
        if len(state.logits) != len(requests):
            raise RuntimeError(f"{len(requests)} requests, but the sampler reads {len(state.logits)} rows")
        first = int(batch.num_computed_tokens_cpu[index])
        start, stop = map(int, self._runner.query_start_loc.np[index : index + 2])
        expected = self.steps[0][0] + len(self.ids) if self.steps else first
        if first != expected:
            raise RuntimeError(f"{self._request}: the step starts at position {first}, not at {expected}")
        self.steps.append((first, stop - start, len(requests)))
        total = int(self._runner.query_start_loc.np[len(requests)])
        self.last_rows = StepRows(first, start, stop - start, total)
        self.ids += self._runner.input_ids.gpu[start:stop].tolist()
        self._positions.append(self._copy_positions(start, stop))
        if self._runner.supports_mm_inputs:
            self._embeddings.append(self._copy_embeddings(start, stop))
        with torch.inference_mode():
            self._add_logits(state.hidden_states[start:stop], state.logits[index], first)

    def _copy_embeddings(self, start: int, stop: int) -> torch.Tensor:
        """Return the embeddings of some rows: float32 [rows, hidden * (1 + deep levels)]."""
        import torch

        embeddings = self._runner.inputs_embeds.gpu[start:stop]
        deep = self._deep or [embeddings.new_zeros(stop, embeddings.shape[1])] * self.deep_levels
        joined = [embeddings, *(level[start:stop].to(embeddings) for level in deep)]
        return torch.cat(joined, dim=1).to("cpu", torch.float32, copy=True)

    def _get_state(self) -> Any:
        state = getattr(self._runner, "execute_model_state", None)
        owner = f"{type(self._runner).__module__}.{type(self._runner).__name__}"
        _check_private_names(state, _STATE_FIELDS, f"{owner}.execute_model_state")
        _check_private_names(self._runner, _RUNNER_FIELDS, owner)
        return state

    def _copy_positions(self, start: int, stop: int) -> torch.Tensor:
        """Return the rotary positions of some rows: int64 [axes, rows]."""
        import torch

        if getattr(self._runner, "uses_mrope", False):
            positions = self._runner.mrope_positions.gpu[:, start:stop]
        else:
            positions = self._runner.positions[start:stop][None]
        copied: torch.Tensor = positions.to("cpu", torch.int64, copy=True)
        return copied

    def _add_logits(self, hidden: torch.Tensor, sampled: torch.Tensor, first: int) -> None:
        """Fill in the rows of a step, copied to the CPU because the sampler modifies its tensor in place.

        Args:
            hidden: [rows, hidden], the hidden states.
            sampled: [vocabulary], the row that the sampler reads. If the step ends before the prompt does,
                vLLM discards the sampled id, and the row is computed like the others.
            first: position of the first row.
        """
        import torch

        if self._rows is None:
            count = self._expected - first
            self._rows = torch.empty(count, sampled.shape[-1], dtype=torch.float32)
        done = first - self.steps[0][0]
        rows = self._rows[done : done + len(hidden)]
        is_sampled = first + len(hidden) >= self._prompt
        computed = len(hidden) - is_sampled
        for start in range(0, computed, _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, computed)
            rows[start:stop] = self._runner.model.compute_logits(hidden[start:stop])
        if is_sampled:
            rows[-1] = sampled

    def build_arrays(self) -> dict[str, np.ndarray]:
        """Return the recorded arrays; rows that were not run are uninitialized."""
        import torch

        tensors = {"rows": self._rows, "positions": torch.cat(self._positions, dim=1)}
        if self._embeddings:
            tensors["embeddings"] = torch.cat(self._embeddings)
        return {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


def _check_private_names(owner: Any, names: tuple[str, ...], label: str) -> None:
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise PrivateApiChangedError(f"{label} has no {', '.join(missing)}")
