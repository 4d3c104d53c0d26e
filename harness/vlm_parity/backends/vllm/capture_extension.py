"""Runs inside vLLM's workers: keeps the full-vocabulary logits of every position that is run.

``execute_model`` of the V1 model runner leaves the hidden states of all scheduled rows behind
before it samples. The extension computes their logits with the model's own head, and takes the
sampler's own tensor for the rows that it has: it is what the engine really answers with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vlm_parity.util.errors import PrivateApiChangedError

if TYPE_CHECKING:
    import numpy as np
    import torch

_CHUNK_ROWS = 32  # rows of logits: 20 MB at 150,000 tokens, which stay in a processor's cache
_STATE_FIELDS = ("logits", "hidden_states")
_RUNNER_FIELDS = ("input_batch", "query_start_loc", "input_ids", "supports_mm_inputs")


class CaptureExtension:
    """Mixed into vLLM's worker class; its methods are called by ``collective_rpc``."""

    if TYPE_CHECKING:
        model_runner: Any
        rank: int

    def parity_arm(self, request: str, prompt: int, positions: int) -> None:
        """Starts to record a request; forgets what was recorded.

        Args:
            request: its id inside the engine, as ``LLMEngine.add_request`` returns it.
            prompt: how many positions its prompt has.
            positions: how many it is to run at most.
        """
        runner = self.model_runner
        if not hasattr(runner, "parity_recorder"):
            runner.execute_model = _patch_runner(runner)
        runner.parity_recorder = Recorder(runner, request, prompt, positions)

    def parity_collect(self) -> tuple[list[tuple[int, int, int]], list[int], dict[str, np.ndarray]]:
        """Stops to record.

        Returns:
            The steps: position of the first row, rows, and requests in the step. The ids that were fed,
            one a position. From rank 0 also ``rows`` (float32 [positions, vocabulary]), ``positions``
            (int64 [axes, positions]) and, where the model takes media, ``embeddings`` (float32
            [positions, hidden]).
        """
        recorder: Recorder = self.model_runner.parity_recorder
        self.model_runner.parity_recorder = None
        if recorder.problem is not None:
            raise recorder.problem
        return recorder.steps, recorder.fed, recorder.arrays() if self.rank == 0 else {}


def _patch_runner(runner: Any) -> Callable[..., Any]:
    original = runner.execute_model

    def execute_model(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if runner.parity_recorder is not None and result is None:
            runner.parity_recorder.try_to_record()
        return result

    return execute_model


class Recorder:
    """What is run of one request, in the order of its positions, whatever else is in the batch."""

    def __init__(self, runner: Any, request: str, prompt: int, positions: int) -> None:
        self._runner, self._request, self._prompt, self._expected = runner, request, prompt, positions
        self._rows: torch.Tensor | None = None
        self._positions: list[torch.Tensor] = []
        self._embeddings: list[torch.Tensor] = []
        self.steps: list[tuple[int, int, int]] = []
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
        """Takes the request's rows of the step that has just been run, if it was in it."""
        import torch

        state = self._state()
        batch = self._runner.input_batch
        requests = batch.req_ids[: batch.num_reqs]
        if self._request not in requests:
            return
        index = requests.index(self._request)
        if len(state.logits) != len(requests):
            raise RuntimeError(f"{len(requests)} requests, but the sampler reads {len(state.logits)} rows")
        first = int(batch.num_computed_tokens_cpu[index])
        start, stop = map(int, self._runner.query_start_loc.np[index : index + 2])
        seen = self.steps[0][0] + len(self.fed) if self.steps else first
        if first != seen:
            raise RuntimeError(f"{self._request}: the step starts at position {first}, {seen} were seen")
        self.steps.append((first, stop - start, len(requests)))
        self.fed += self._runner.input_ids.gpu[start:stop].tolist()
        self._positions.append(self._rotary_positions(start, stop))
        if self._runner.supports_mm_inputs:
            embeddings = self._runner.inputs_embeds.gpu[start:stop]
            self._embeddings.append(embeddings.to("cpu", torch.float32, copy=True))
        with torch.inference_mode():
            self._take_logits(state.hidden_states[start:stop], state.logits[index], first)

    def _state(self) -> Any:
        state = getattr(self._runner, "execute_model_state", None)
        owner = f"{type(self._runner).__module__}.{type(self._runner).__name__}"
        _check_private_names(state, _STATE_FIELDS, f"{owner}.execute_model_state")
        _check_private_names(self._runner, _RUNNER_FIELDS, owner)
        return state

    def _rotary_positions(self, start: int, stop: int) -> torch.Tensor:
        """int64 [axes, rows]"""
        import torch

        if getattr(self._runner, "uses_mrope", False):
            positions = self._runner.mrope_positions.gpu[:, start:stop]
        else:
            positions = self._runner.positions[start:stop][None]
        copied: torch.Tensor = positions.to("cpu", torch.int64, copy=True)
        return copied

    def _take_logits(self, hidden: torch.Tensor, sampled: torch.Tensor, first: int) -> None:
        """Fills in a step's rows; copies them to the CPU: the sampler changes its tensor in place.

        Args:
            hidden: [rows, hidden]
            sampled: [vocabulary]: the row that the sampler reads. It throws away what it makes of a step
                that ends before the prompt does, so that row counts no more than the others.
            first: the position of the first row.
        """
        import torch

        if self._rows is None:
            count = self._expected - first
            self._rows = torch.empty(count, sampled.shape[-1], dtype=torch.float32)
        done = first - self.steps[0][0]
        rows = self._rows[done : done + len(hidden)]
        answers = first + len(hidden) >= self._prompt
        computed = len(hidden) - answers
        for start in range(0, computed, _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, computed)
            rows[start:stop] = self._runner.model.compute_logits(hidden[start:stop])
        if answers:
            rows[-1] = sampled

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was seen; a row that was not run holds anything."""
        import torch

        found = {"rows": self._rows, "positions": torch.cat(self._positions, dim=1)}
        if self._embeddings:
            found["embeddings"] = torch.cat(self._embeddings)
        return {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}


def _check_private_names(owner: Any, names: tuple[str, ...], called: str) -> None:
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise PrivateApiChangedError(f"{called} has no {', '.join(missing)}")
