"""The catalog of past bugs: one YAML file for each (``cases/replays/README.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.backends.releases import find_releases
from vlm_parity.replay.values import Number, check_name
from vlm_parity.schema.case import CASE_NAME, DERIVED_FIELDS, Case
from vlm_parity.schema.case_file import load_case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.yaml_file import read_yaml
from vlm_parity.util.errors import ReplayError, UnknownReleaseError

REFERENCE_SIDE = "reference"
ReleaseRole = Literal["buggy", "fixed"]


Name = Annotated[str, AfterValidator(check_name)]


def _case_kind(value: Any) -> str:
    return "<case>" if isinstance(value, dict | Case) else "<name>"


CaseOrName = Annotated[
    Annotated[str, Field(pattern=CASE_NAME), Tag("<name>")] | Annotated[Case, Tag("<case>")],
    Discriminator(_case_kind),
]


class Replay(Record):
    """A past bug: releases with and without it, and its expected diagnosis."""

    name: str
    """Name of the file, without its suffix."""
    title: str
    """The bug in a sentence."""
    upstream: Annotated[tuple[str, ...], Field(min_length=1)]
    """Links to the issue and the fix."""
    backend: str
    model: str
    """A family."""
    case: CaseOrName
    """The name of a case in ``cases/conversations``, or a case."""
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT
    stage: Stage
    """The expected first divergent stage."""
    cause: str
    """The expected cause: one of ``vlm_parity.diagnosis.registry``."""
    releases: dict[str, ReleaseRole]
    """Releases of the backend. ``fixed`` may be missing if no release fixes the bug."""
    pins: dict[str, str] = {}
    """Versions by distribution, such as transformers, that replace those of ``releases.toml``."""
    reference: str | None = None
    """For bugs of transformers: its release that is the reference, in an environment of its own.
    By default the reference is the transformers of each environment."""
    values: dict[Name, dict[str, Number | tuple[Number, ...]]] = {}
    """Expected values by location, then by release or ``reference``.

    A single number applies to all positions.
    """
    unfixed: str = ""
    """The reason why no release fixes the bug; only without a ``fixed`` release."""

    @model_validator(mode="after")
    def _check_releases(self) -> Replay:
        if self.backend not in list_backend_targets():
            raise ValueError(
                f"backend {self.backend!r}: no such backend; there are: "
                f"{', '.join(sorted(list_backend_targets()))}"
            )
        try:
            for release in self.releases:
                find_releases(self.backend, release)
        except UnknownReleaseError as error:
            raise ValueError(str(error)) from error
        if "buggy" not in self.releases.values():
            raise ValueError("releases: none of them is buggy")
        if ("fixed" in self.releases.values()) == bool(self.unfixed):
            raise ValueError("releases: add a fixed release, or the reason in `unfixed` why there is none")
        if isinstance(self.case, Case) and any(
            isinstance(part.source, MediaFile) for _, part in self.case.media
        ):
            raise ValueError("case: media of a case in a replay file must be recipes or data URLs, not files")
        for location, expected in self.values.items():
            for backend in expected:
                if backend not in {REFERENCE_SIDE, *self.releases}:
                    raise ValueError(
                        f"values: {location}: {backend!r} is neither a release of the replay nor "
                        f"{REFERENCE_SIDE!r}"
                    )
        return self

    @property
    def case_name(self) -> str:
        """The name of its case."""
        return self.case if isinstance(self.case, str) else self.case.name

    def resolve_case(self, conversations: Path, media_roots: Sequence[Path] = ()) -> Case:
        """Return the case.

        Args:
            conversations: the folder of the cases.
            media_roots: see ``Case.media_roots``.

        Raises:
            CaseError: ``conversations`` holds no such case.
        """
        if isinstance(self.case, Case):
            return self.case
        return load_case(conversations / f"{self.case}.yaml", media_roots)


def load_replays(folder: Path) -> dict[str, Replay]:
    """Load all replays of a folder, by name.

    Raises:
        ReplayError: a file does not fit the schema, or there is none.
    """
    replays = {path.stem: load_replay(path) for path in sorted(folder.glob("*.yaml"))}
    if not replays:
        raise ReplayError(f"{folder}: holds no replay (*.yaml)")
    return replays


def load_replay(path: Path) -> Replay:
    """Load one replay.

    Raises:
        ReplayError: the file cannot be read, is not YAML or does not fit the schema.
    """
    file = read_yaml(path, ReplayError, "title, upstream, backend, ...")
    data = file.data
    if "name" in data:
        raise ReplayError(f"{file.locate(('name',))}no such key here: the file names the replay")
    case = data.get("case")
    if isinstance(case, dict):
        for derived in DERIVED_FIELDS:
            if derived in case:
                raise ReplayError(f"{file.locate(('case', derived))}no such key here")
        defaults = {"summary": data.get("title", ""), "depth": "tokens"}
        data = {**data, "case": {**defaults, **case, "name": path.stem}}
    try:
        return Replay.model_validate({**data, "name": path.stem})
    except ValidationError as error:
        raise ReplayError(file.format_error(error)) from error
