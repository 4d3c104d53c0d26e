"""What a session is to do, as its options say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlm_parity.backends.base import Dtype, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint, engine_label
from vlm_parity.schema.trace import Depth


@dataclass(frozen=True)
class EngineLoad:
    """One model, in one backend, in one mode, through one entry point."""

    model: str
    """As the user wrote it: a family, a folder, or a hub id with a revision."""
    backend: str
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT

    @property
    def label(self) -> str:
        """Name of the backend in this setup."""
        return engine_label(self.backend, self.mode, self.entry_point)

    @property
    def engine(self) -> EngineLoad:
        """The load that answers: equal for all entry points that share an engine."""
        return self if self.entry_point.loads_own_engine else replace(self, entry_point=EntryPoint.CHAT)


@dataclass(frozen=True)
class Plan:
    """The options of a session that are the same for all of its models, backends and cases."""

    settings: Settings
    """How the backends under test are run, but for ``dtype``."""
    dtype: Dtype | None
    """What the backends under test compute in; None for what suits the model."""
    reference_dtype: Dtype | None
    """None for what suits the model; see ``vlm_parity.session.references.truth_dtype``."""
    folder: Path
    """The part of the run that the session writes."""
    command: str
    """How the session was started."""
    reproduce: str
    """``pytest cases`` with the options that every verdict of the session needs."""
    reproduce_as: str | None = None
    """Another command that makes the session's verdicts again, where one was named."""
    keep_logits: bool = False
    saved_traces: Path | None = None
    """A run whose traces are judged again; no engine is started."""
    reference_traces: Path | None = None
    """A part of a run, whose reference's traces are taken instead of this environment's transformers'."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""
    model_list: Mapping[str, ListedModel] = field(default_factory=dict)
    """The model list, by name."""

    def settings_of(self, checkpoint: Checkpoint) -> Settings:
        """How the backends under test run this model."""
        entry = self.model_list.get(checkpoint.name)
        suits = entry.dtype if entry is not None else tested_dtype(checkpoint)
        return replace(self.settings, dtype=self.dtype or suits)

    def engine_args_of(self, checkpoint: Checkpoint, backend: str) -> dict[str, Any]:
        """What a backend's constructor is told of this model: how many GPUs share it, as the model list
        says, and then what the user wants. On a CPU, and where no engine runs, there is nothing to share.
        """
        entry, name = self.model_list.get(checkpoint.name), load_backend_class(backend).tensor_parallel
        runs = self.settings.device == "cuda" and self.settings.depth is Depth.LOGITS
        shared = {name: entry.tensor_parallel_size} if entry is not None and name and runs else {}
        return {**shared, **self.settings.engine_args}


def tested_dtype(checkpoint: Checkpoint) -> Dtype:
    """What a model is tested in if nothing else is asked for."""
    known = checkpoint.source == "synthetic" and checkpoint.family in FAMILIES
    return load_family(checkpoint.family).dtype if known else "float32"
