"""Checkpoints of a session, each resolved once."""

from __future__ import annotations

from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import get_model_name, resolve_model
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.shard_writer import ShardWriter


class CheckpointProvider:
    """Resolves models on first use and notes them in the shard."""

    def __init__(self, plan: Plan, shard: ShardWriter, reporter: ProgressReporter) -> None:
        self._plan, self._shard, self._reporter = plan, shard, reporter
        self._checkpoints: dict[str, Checkpoint] = {}

    def get(self, model: str) -> Checkpoint:
        """Return the checkpoint of a model as the user named it.

        Raises:
            UnknownModelError: no checkpoint was found.
            CheckpointBuildError: the synthetic checkpoint could not be built.
        """
        if model not in self._checkpoints:
            needs_weights = self._plan.settings.depth is Depth.LOGITS
            with self._shard.clock.measure(f"{get_model_name(model)}/checkpoint"):
                checkpoint = resolve_model(
                    model,
                    weights=needs_weights,
                    model_list=self._plan.model_list,
                    report=self._reporter.report,
                )
            self._checkpoints[model] = checkpoint
            self._shard.add_model(checkpoint, needs_weights)
            self._report_unpinned(model, checkpoint)
        return self._checkpoints[model]

    def find(self, model: str) -> Checkpoint | None:
        """Return the checkpoint of a model if it is resolved already."""
        return self._checkpoints.get(model)

    def _report_unpinned(self, model: str, checkpoint: Checkpoint) -> None:
        entry = self._plan.model_list.get(model)
        if entry is not None and not entry.pinned:
            self._reporter.report(
                f"[{model}] NOT PINNED: the model list names no commit; this is {checkpoint.source}"
            )
