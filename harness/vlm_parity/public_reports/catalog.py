"""The catalog of public reports: one YAML file for each (``cases/reports/README.md``)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.diagnosis.registry import list_causes
from vlm_parity.schema.case import CASE_NAME
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.yaml_file import read_yaml
from vlm_parity.util.errors import PublicReportError

REFUSAL = "refusal"
"""In place of a stage: one side refuses what the other accepts."""
ERROR = "error"
"""In place of a stage: the engine fails on what the reference accepts."""


class Status(StrEnum):
    """State of a report that can be written."""

    LIVE = "live"
    """It differs in the releases of this repository's environments."""
    REPLAYED = "replayed"
    """It differs in an older release, and a replay shows it."""
    AGREES = "agrees"
    """The releases of these environments agree; the release that the report names was not asked."""
    NOT_ASKED = "not asked"
    """It was not run."""


class Finding(Record):
    """A stage with a cause."""

    stage: str
    """A stage, ``refusal`` or ``error``."""
    cause: str = ""
    """A cause of the rules; empty if none is expected, or none was named."""

    @model_validator(mode="after")
    def _is_known(self) -> Finding:
        if self.stage not in {REFUSAL, ERROR, *map(str, Stage)}:
            raise ValueError(f"stage: no stage {self.stage!r}")
        if self.cause and self.cause not in list_causes():
            raise ValueError(f"cause: no rule names {self.cause!r}")
        return self


class PublicReport(Record):
    """One report: its links, and the case that shows it or what a case lacks for it."""

    name: str
    """Name of the file, without its suffix."""
    title: str
    """The symptom in one line."""
    upstream: Annotated[tuple[Annotated[str, Field(pattern=r"^https://")], ...], Field(min_length=1)]
    """Links to the report and, if there is one, the fix."""
    reported: str
    """The software and its versions, as the report names them."""
    missing: str = ""
    """A feature that cases lack; empty if the report can be written."""
    backend: str = ""
    """The engine to ask; ``transformers`` if the bug is its own."""
    model: str = ""
    case: Annotated[str, Field(pattern=rf"{CASE_NAME}|^$")] = ""
    """A case of ``cases/conversations``, or of the replay."""
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT
    status: Status | None = None
    replay: str = ""
    """The replay that shows it in an older release."""
    expected: Finding | None = None
    """The place at which it has to be found, by what the report says."""
    found: Finding | None = None
    """The place at which it was found: of a live report in these environments, of another in its replay."""
    note: str = ""
    """A remark on what was measured, with which versions."""

    @model_validator(mode="after")
    def _is_complete(self) -> PublicReport:
        if self.missing:
            if self.status is not None or self.case:
                raise ValueError("missing: a report that cannot be written has neither case nor status")
            return self
        if not (self.backend and self.model and self.case and self.status):
            raise ValueError("needs backend, model, case and status, or missing")
        if (self.status is Status.REPLAYED) != bool(self.replay):
            raise ValueError("replay: belongs to the status replayed, which needs one")
        if self.is_live != (self.expected is not None):
            raise ValueError("expected: belongs to the states live and replayed, which need it")
        return self

    @property
    def is_written(self) -> bool:
        """True if a case can say it."""
        return not self.missing

    @property
    def is_live(self) -> bool:
        """True if the bug is known to be in a release that was asked."""
        return self.status in {Status.LIVE, Status.REPLAYED}

    @property
    def is_found(self) -> bool:
        """True if it is live and was found, at whatever stage."""
        return self.is_live and self.found is not None

    @property
    def has_right_stage(self) -> bool:
        """True if it was found at the expected stage."""
        return (
            self.found is not None and self.expected is not None and self.found.stage == self.expected.stage
        )

    @property
    def has_right_cause(self) -> bool:
        """True if it was found at the expected stage, with the expected cause."""
        return self.has_right_stage and self.found == self.expected

    @property
    def command(self) -> str:
        """The command that asks it, in the environment of its engine; empty if it cannot be written."""
        if not self.is_written:
            return ""
        if self.replay:
            return f"parity replay {self.replay}"
        backend = "" if self.backend == REFERENCE_BACKEND else f" --backend {self.backend}"
        mode = f" --mode {self.mode}" if self.mode != DEFAULT_MODE else ""
        entry = f" --entry-point {self.entry_point}" if self.entry_point is not EntryPoint.CHAT else ""
        return f"parity run{backend} --model {self.model} --case {self.case}{mode}{entry}"


def load_public_reports(folder: Path) -> dict[str, PublicReport]:
    """Load all reports of a folder, by name.

    Raises:
        PublicReportError: a file cannot be read, is not YAML or does not fit the schema, or there is none.
    """
    reports = {path.stem: _load(path) for path in sorted(folder.glob("*.yaml"))}
    if not reports:
        raise PublicReportError(f"{folder}: holds no report (*.yaml)")
    return reports


def _load(path: Path) -> PublicReport:
    file = read_yaml(path, PublicReportError, "title, upstream, reported, ...")
    if "name" in file.data:
        raise PublicReportError(f"{file.locate(('name',))}no such key here: the file names the report")
    try:
        return PublicReport.model_validate({**file.data, "name": path.stem})
    except ValidationError as error:
        raise PublicReportError(file.format_error(error)) from error
