"""Plan of a session, as its options state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.process import SINGLE_THREADED
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth, Dtype, EntryPoint, engine_label
from vlm_parity.schema.share import Share


@dataclass(frozen=True)
class EngineLoad:
    """One model, in one backend, in one mode, through one entry point."""

    model: str
    """As the user named it: a family, a folder, or a hub id with a revision."""
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
    """Settings of the backends under test, without ``dtype``."""
    dtype: Dtype | None
    """Dtype of the backends under test; None for the default of the model."""
    reference_dtype: Dtype | None
    """None for the dtype that suits the model; see ``vlm_parity.session.references.select_truth_dtype``."""
    folder: Path
    """Folder of the shard that the session writes."""
    command: str
    """Command line of the session."""
    reproduce: str
    """``parity run`` with the options that every verdict of the session needs."""
    share: Share | None = None
    """The session's share of all loads; None if it runs all of them."""
    reproduce_as: str | None = None
    """Command that reproduces the session's verdicts, if the user named one."""
    keep_logits: bool = False
    locate: bool = False
    """True to locate the modules behind each difference of an engine's model."""
    locate_within: tuple[str, str] = ("", "")
    """The only block whose modules are recorded: its names in the reference and in the engine. Empty for all,
    if they fit."""
    saved_traces: Path | None = None
    """Run whose traces are compared again; no engine starts."""
    reference_traces: Path | None = None
    """Shard whose reference traces replace those of this environment's transformers."""
    passes: int = 3
    """Number of passes over a case that differs, to see whether the difference repeats."""
    retries: bool = True
    """True to run a case again if the engine crashed, did not respond, or ran out of memory."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""
    model_list: Mapping[str, ListedModel] = field(default_factory=dict)
    """Entries of the model list by name."""

    def build_settings(self, checkpoint: Checkpoint) -> Settings:
        """Return the settings of the backends under test for a model."""
        entry = self.model_list.get(checkpoint.name)
        default = entry.dtype if entry is not None else select_default_dtype(checkpoint)
        return replace(self.settings, dtype=self.dtype or default)

    def get_environment_variables(self, checkpoint: Checkpoint) -> Mapping[str, str]:
        """Return the environment variables of the children that run a model."""
        is_tiny = checkpoint.source == "synthetic" and self.settings.device == "cpu"
        return SINGLE_THREADED if is_tiny else {}

    def build_engine_args(self, checkpoint: Checkpoint, backend: str) -> dict[str, Any]:
        """Return the engine arguments of a model: its number of GPUs by the model list, then the user's.

        On a CPU, and at a depth without an engine, there are no GPUs to share.
        """
        entry, name = self.model_list.get(checkpoint.name), load_backend_class(backend).tensor_parallel
        runs = self.settings.device == "cuda" and self.settings.depth is Depth.LOGITS
        shared = {name: entry.tensor_parallel_size} if entry is not None and name and runs else {}
        return {**shared, **self.settings.engine_args}


def select_default_dtype(checkpoint: Checkpoint) -> Dtype:
    """Return the dtype in which a model is tested by default."""
    is_family = checkpoint.source == "synthetic" and checkpoint.family in FAMILIES
    return load_family(checkpoint.family).dtype if is_family else "float32"
