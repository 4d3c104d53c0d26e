"""Messages between the pytest process and an engine's child process, each one a JSON record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlm_parity.backends.base import Settings
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth, Device, Dtype, EntryPoint
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Outcome


class LoadRequest(Record):
    """The first message to the child: load this backend."""

    backend: str
    name: str
    family: str
    path: Path
    source: str
    digest: str
    trust_remote_code: bool
    content: str
    device: Device
    dtype: Dtype
    depth: Depth
    max_length: int
    engine_args: dict[str, Any]
    mode: str
    entry_point: EntryPoint
    """``server`` if the engine runs behind its server, otherwise ``chat``."""

    @classmethod
    def of(
        cls,
        backend: str,
        checkpoint: Checkpoint,
        settings: Settings,
        entry_point: EntryPoint = EntryPoint.CHAT,
    ) -> LoadRequest:
        """Build the request from the records that it carries field by field."""
        return cls(
            backend=backend,
            entry_point=entry_point,
            **vars(checkpoint),
            **{**vars(settings), "engine_args": dict(settings.engine_args)},
        )

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint to load."""
        fields = ("name", "family", "path", "source", "digest", "trust_remote_code", "content")
        return Checkpoint(**{field: getattr(self, field) for field in fields})

    @property
    def settings(self) -> Settings:
        """The settings of the backend."""
        fields = ("device", "dtype", "depth", "max_length", "engine_args", "mode")
        return Settings(**{field: getattr(self, field) for field in fields})


class InjectedFault(Record):
    """A change to the loaded engine, active while one case is captured."""

    target: str
    """``module:function``: called with the backend and ``name``, returns a context manager."""
    name: str
    """The fault, as ``target`` knows it."""


class CaseRequest(Record):
    """A message to the child about one case."""

    case: Case
    case_folder: Path | None
    """The folder of the case, which its record leaves out."""
    media_roots: tuple[Path, ...] = ()
    """Further folders of its media, which its record leaves out, too."""

    @property
    def located_case(self) -> Case:
        """The case with the folders of its media."""
        return self.case.model_copy(update={"folder": self.case_folder, "media_roots": self.media_roots})


class CaptureRequest(CaseRequest):
    """A message to the child: capture this case into this folder."""

    folder: Path
    entry_point: EntryPoint = EntryPoint.CHAT
    """See ``vlm_parity.backends.base.Request``."""
    batch_with: tuple[Case, ...] = ()
    """See ``vlm_parity.backends.base.Request``; cases that need no files."""
    is_reference: bool = False
    """True if the backend chooses the continuation, as the reference does."""
    continuation: tuple[int, ...] | None = None
    """The tokens chosen by the reference; None if it has generated none."""
    uses_max_media: bool = False
    """True if the case contains the largest medium of the engine under test. This child may have to
    determine it first: see ``vlm_parity.schema.max_media``."""
    floor: Dtype | None = None
    """The dtype whose noise floor is measured together with the trace; for the reference only."""
    condition: Condition | None = None
    """Values of the reference that the engine is given; None if it runs on its own."""
    reference_folder: Path | None = None
    """The reference trace that ``condition`` requires."""
    modules: Path | None = None
    """The folder for the calls of the model's modules; None if they are not recorded."""
    modules_within: str = ""
    """See ``Backend.record_modules``."""
    fault: InjectedFault | None = None
    """The change under which the engine runs, if any."""
    floor_only: bool = False
    """True if the folder holds the trace already and only the noise floor is missing."""


class LocateRequest(CaseRequest):
    """A message to the reference's child: compare the modules of an engine with its own."""

    modules: Path
    """The folder with the calls of the engine's modules, which gets the ``Location``."""
    continuation: tuple[int, ...]
    """As for ``ReferenceBackend.locate``."""
    within: str = ""
    """Likewise."""


class Response(Record):
    """A message from the child: the load (``case`` is None) or one case has ended, with this outcome."""

    case: str | None = None
    outcome: Outcome
    message: str = ""
    seconds: float
    floor_seconds: float = 0.0
    """The part of them in which the noise floor was measured."""
    is_last: bool = False
    """True if the child ends after this response: the load failed, or the engine can run no further case."""
