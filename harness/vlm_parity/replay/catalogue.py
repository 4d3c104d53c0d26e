"""The catalogue of historic bugs: one YAML file each (``cases/replays/README.md``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from vlm_parity.backends.registry import list_backend_targets
from vlm_parity.backends.releases import find_releases
from vlm_parity.replay.values import Number, check_name
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import ReplayError, UnknownReleaseError

REFERENCE_SIDE = "reference"
ReleaseRole = Literal["buggy", "fixed"]


Name = Annotated[str, AfterValidator(check_name)]


class Replay(Record):
    """One historic bug: where it shows, where it does not, and what has to be said of it."""

    name: str
    """Of the file."""
    title: str
    """What went wrong, in a sentence."""
    upstream: Annotated[tuple[str, ...], Field(min_length=1)]
    """Links to the issue and to what fixed it."""
    backend: str
    model: str
    """A family."""
    case: str | Case
    """The name of one of ``cases/conversations``, or one that stands here."""
    mode: str = DEFAULT_MODE
    entry_point: EntryPoint = EntryPoint.CHAT
    stage: Stage
    """Where the harness has to find it first."""
    cause: str
    """What it has to name: one of ``vlm_parity.diagnosis.registry``."""
    releases: dict[str, ReleaseRole]
    """Of the backend; ``fixed`` may be missing where no release fixes it."""
    pins: dict[str, str] = {}
    """Versions by distribution, over those of ``harness/vlm_parity/backends/releases.toml``: of transformers."""
    reference: str | None = None
    """The release of transformers that is the reference, in an environment of its own; without it each
    environment's transformers is. For bugs of transformers itself."""
    values: dict[Name, dict[str, Number | tuple[Number, ...]]] = {}
    """What either side holds, exactly: by place, then by release, or ``reference``. One number stands for
    all of the place."""
    unfixed: str = ""
    """Why no release fixes it; only where there is none."""

    @model_validator(mode="after")
    def _check_releases(self) -> Replay:
        if self.backend not in list_backend_targets():
            raise ValueError(
                f"backend {self.backend!r}: there are {', '.join(sorted(list_backend_targets()))}"
            )
        try:
            for release in self.releases:
                find_releases(self.backend, release)
        except UnknownReleaseError as problem:
            raise ValueError(str(problem)) from problem
        if "buggy" not in self.releases.values():
            raise ValueError("releases: none of them is buggy")
        if ("fixed" in self.releases.values()) == bool(self.unfixed):
            raise ValueError("releases: name one that is fixed, or say in `unfixed` why there is none")
        if isinstance(self.case, Case) and any(
            isinstance(shard.source, MediaFile) for _, shard in self.case.media
        ):
            raise ValueError("case: media of a case that stands here are recipes or data URLs, no files")
        for place, sides in self.values.items():
            for side in sides:
                if side not in {REFERENCE_SIDE, *self.releases}:
                    raise ValueError(f"values: {place}: {side!r} is no release of it, nor {REFERENCE_SIDE!r}")
        return self

    @property
    def case_name(self) -> str:
        """The name of its case."""
        return self.case if isinstance(self.case, str) else self.case.name

    def resolved(self, conversations: Path) -> Case:
        """Its case.

        Raises:
            CaseError: ``conversations`` holds no such case.
        """
        return self.case if isinstance(self.case, Case) else load_case(conversations / f"{self.case}.yaml")


def load_replays(folder: Path) -> dict[str, Replay]:
    """All replays of a folder by name.

    Raises:
        ReplayError: a file does not fit, or there is none.
    """
    found = {path.stem: load_replay(path) for path in sorted(folder.glob("*.yaml"))}
    if not found:
        raise ReplayError(f"{folder}: holds no replay (*.yaml)")
    return found


def load_replay(path: Path) -> Replay:
    """Reads one replay.

    Raises:
        ReplayError: the file is not YAML or does not fit.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ReplayError(f"{path}: {problem}") from problem
    if not isinstance(data, dict):
        raise ReplayError(f"{path}: a replay is a mapping with title, upstream, backend, ...")
    case = data.get("case")
    if isinstance(case, dict):
        named = {"summary": data.get("title", ""), "depth": "tokens", **case, "name": path.stem}
        data = {**data, "case": named}
    try:
        return Replay.model_validate({**data, "name": path.stem})
    except ValidationError as problem:
        lines = [f"{path}: {'.'.join(map(str, error['loc']))}: {error['msg']}" for error in problem.errors()]
        raise ReplayError("\n".join(lines)) from problem
