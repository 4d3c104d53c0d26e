"""What the pytest process and an engine's child process say to each other: one JSON line a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlm_parity.backends.base import Device, Dtype, Settings
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Depth, Outcome


class LoadRequest(Record):
    """To the child, once: load this backend."""

    backend: str
    name: str
    family: str
    path: Path
    source: str
    digest: str
    trust_remote_code: bool
    device: Device
    dtype: Dtype
    depth: Depth
    max_length: int
    engine_args: dict[str, Any]
    mode: str
    entry_point: EntryPoint
    """``server`` if a server stands before the engine, ``chat`` otherwise."""

    @classmethod
    def of(
        cls,
        backend: str,
        checkpoint: Checkpoint,
        settings: Settings,
        entry_point: EntryPoint = EntryPoint.CHAT,
    ) -> LoadRequest:
        return cls(
            backend=backend,
            entry_point=entry_point,
            **vars(checkpoint),
            **{**vars(settings), "engine_args": dict(settings.engine_args)},
        )

    @property
    def checkpoint(self) -> Checkpoint:
        fields = ("name", "family", "path", "source", "digest", "trust_remote_code")
        return Checkpoint(**{field: getattr(self, field) for field in fields})

    @property
    def settings(self) -> Settings:
        fields = ("device", "dtype", "depth", "max_length", "engine_args", "mode")
        return Settings(**{field: getattr(self, field) for field in fields})


class InjectedFault(Record):
    """A change to the loaded engine, active while one case is captured."""

    target: str
    """``module:function``: called with the backend and ``name``, returns a context manager."""
    name: str
    """The fault, as ``target`` knows it."""


class CaptureRequest(Record):
    """To the child: capture this case into this folder."""

    case: Case
    case_folder: Path | None
    """A case does not carry its own folder when it travels."""
    folder: Path
    entry_point: EntryPoint = EntryPoint.CHAT
    """See ``Request``."""
    batch_with: tuple[Case, ...] = ()
    """Without files: see ``Request``."""
    is_reference: bool = False
    """Whether the backend chooses the continuation: the reference does."""
    continuation: tuple[int, ...] | None = None
    """What the reference chose; None where it has no answer to follow."""
    largest: bool = False
    """Whether the case is about the largest medium of the engine under test, which this child may have to
    name first: see ``vlm_parity.schema.max_media``."""
    floor: Dtype | None = None
    """The dtype whose noise floor is to be measured beside the trace; for the reference only."""
    fault: InjectedFault | None = None
    """The change under which the engine is to run, if any."""
    captured: bool = False
    """Whether the folder has the trace already, and only the floor is wanted."""


class Response(Record):
    """From the child: the load (``case`` is None) or one case has ended, for better or worse."""

    case: str | None = None
    outcome: Outcome
    message: str = ""
    seconds: float
