"""What a session is to do, as its options say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.backends.base import Dtype, Settings
from harness.models import FAMILIES, load_family
from harness.models.checkpoint import Checkpoint
from harness.trace import ALONE, WAYS_IN, engine_variant, way


@dataclass(frozen=True)
class EngineLoad:
    """One model, in one backend, run in one variant."""

    model: str
    """As the user wrote it: a family, a folder, or a hub id with a revision."""
    backend: str
    variant: str = ALONE

    @property
    def way(self) -> str:
        """The backend with its variant, as it stands in names."""
        return way(self.backend, self.variant)

    @property
    def way_in(self) -> str | None:
        """None for the chat path."""
        return self.variant if self.variant in WAYS_IN else None

    @property
    def engine(self) -> EngineLoad:
        """The load that answers: equal for all ways in of one engine, which is loaded once for them."""
        return replace(self, variant=engine_variant(self.variant))


@dataclass(frozen=True)
class Plan:
    """The options of a session that are the same for all of its models, backends and cases."""

    settings: Settings
    """How the backends under test are run, but for ``dtype``."""
    dtype: Dtype | None
    """What the backends under test compute in; None for what suits the model."""
    reference_dtype: Dtype | None
    """None for what suits the model; see ``harness.capture.references.truth_dtype``."""
    folder: Path
    """The part of the run that the session writes."""
    command: str
    """How the session was started."""
    reproduce: str
    """``pytest cases`` with the options that every verdict of the session needs."""
    keep_logits: bool = False
    earlier: Path | None = None
    """A run whose traces are judged again; no engine is started."""
    load_timeout: float = 900.0
    """Seconds."""
    case_timeout: float = 300.0
    """Seconds."""

    def settings_of(self, checkpoint: Checkpoint) -> Settings:
        """How the backends under test run this model."""
        return replace(self.settings, dtype=self.dtype or tested_dtype(checkpoint))


def tested_dtype(checkpoint: Checkpoint) -> Dtype:
    """What a model is tested in if nothing else is asked for."""
    known = checkpoint.source == "synthetic" and checkpoint.family in FAMILIES
    return load_family(checkpoint.family).dtype if known else "float32"
