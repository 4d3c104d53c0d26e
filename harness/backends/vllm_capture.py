"""Runs inside vLLM's workers: keeps the full-vocabulary logits of every position that is run.

``execute_model`` of the V1 model runner leaves the hidden states of all scheduled rows behind
before it samples. The extension computes their logits with the model's own head, and takes the
sampler's own tensor for the rows that it has: it is what the engine really answers with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.backends.base import MissingInternal

if TYPE_CHECKING:
    import numpy as np
    import torch

_ROWS_AT_ONCE = 32  # rows of logits: 20 MB at 150,000 tokens, which stay in a processor's cache
_STATE_FIELDS = ("scheduler_output", "logits", "hidden_states")


class CaptureExtension:
    """Mixed into vLLM's worker class; its methods are called by ``collective_rpc``."""

    if TYPE_CHECKING:
        model_runner: Any
        rank: int

    def parity_arm(self, positions: int) -> None:
        """Starts to record a request that is to run so many positions; forgets what was recorded."""
        runner = self.model_runner
        if not hasattr(runner, "parity_recorder"):
            runner.execute_model = _recorded(runner)
        runner.parity_recorder = Recorder(runner, positions)

    def parity_collect(self) -> tuple[list[int], dict[str, np.ndarray]]:
        """Stops to record.

        Returns:
            The ids that were fed, one a position. From rank 0 also ``rows`` (float32 [positions,
            vocabulary]), ``positions`` (int64 [axes, positions]) and, where the model takes media,
            ``embeddings`` (float32 [positions, hidden]).
        """
        recorder: Recorder = self.model_runner.parity_recorder
        self.model_runner.parity_recorder = None
        if recorder.problem is not None:
            raise recorder.problem
        return recorder.fed, recorder.arrays() if self.rank == 0 else {}


def _recorded(runner: Any) -> Callable[..., Any]:
    original = runner.execute_model

    def execute_model(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if runner.parity_recorder is not None and result is None:
            runner.parity_recorder.try_to_record()
        return result

    return execute_model


class Recorder:
    """What is run for one request, in the order of its positions."""

    def __init__(self, runner: Any, positions: int) -> None:
        self._runner = runner
        self._expected = positions
        self._rows: torch.Tensor | None = None
        self._positions: list[torch.Tensor] = []
        self._embeddings: list[torch.Tensor] = []
        self.fed: list[int] = []
        self.problem: Exception | None = None
        """Why nothing more is recorded."""

    def try_to_record(self) -> None:
        """Records a step, and keeps what goes wrong: a runner whose step raised takes no other."""
        try:
            if self.problem is None:
                self.record()
        except Exception as problem:
            self.problem = problem

    def record(self) -> None:
        """Takes the rows of the step that has just been run."""
        import torch

        state = self._state()
        request, count, first = self._scheduled(state)
        if first != len(self.fed):
            raise RuntimeError(f"{request}: the step starts at position {first}, {len(self.fed)} were seen")
        self.fed += self._runner.input_ids.gpu[:count].tolist()
        self._positions.append(self._rotary_positions(count))
        if self._runner.supports_mm_inputs:
            embeddings = self._runner.inputs_embeds.gpu[:count]
            self._embeddings.append(embeddings.to("cpu", torch.float32, copy=True))
        with torch.inference_mode():
            self._take_logits(state, first, count)

    def _state(self) -> Any:
        state = getattr(self._runner, "execute_model_state", None)
        missing = [name for name in _STATE_FIELDS if not hasattr(state, name)]
        if missing:
            owner = f"{type(self._runner).__module__}.{type(self._runner).__name__}"
            raise MissingInternal(f"{owner}.execute_model_state has no {', '.join(missing)}")
        return state

    def _scheduled(self, state: Any) -> tuple[str, int, int]:
        """The one request of the step, its number of rows, and the position of the first."""
        batch = self._runner.input_batch
        requests = batch.req_ids[: batch.num_reqs]
        if len(requests) != 1:
            raise RuntimeError(f"one request at a time is recorded, {len(requests)} were scheduled")
        count = int(state.scheduler_output.num_scheduled_tokens[requests[0]])
        return requests[0], count, int(batch.num_computed_tokens_cpu[0])

    def _rotary_positions(self, count: int) -> torch.Tensor:
        """int64 [axes, count]"""
        import torch

        if getattr(self._runner, "uses_mrope", False):
            positions = self._runner.mrope_positions.gpu[:, :count]
        else:
            positions = self._runner.positions[:count][None]
        copied: torch.Tensor = positions.to("cpu", torch.int64, copy=True)
        return copied

    def _take_logits(self, state: Any, first: int, count: int) -> None:
        """Copies to the CPU: the sampler changes its tensor in place."""
        import torch

        if self._rows is None:
            self._rows = torch.empty(self._expected, state.logits.shape[-1], dtype=torch.float32)
        rows = self._rows[first : first + count]
        for start in range(0, count - 1, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, count - 1)
            rows[start:stop] = self._runner.model.compute_logits(state.hidden_states[start:stop])
        rows[-1:] = state.logits[:1]

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was seen; a row that was not run holds anything."""
        import torch

        found = {"rows": self._rows, "positions": torch.cat(self._positions, dim=1)}
        if self._embeddings:
            found["embeddings"] = torch.cat(self._embeddings)
        return {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}
