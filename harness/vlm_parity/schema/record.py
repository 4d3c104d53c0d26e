"""Base class of every record that is read from or written to disk."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_parity.util.errors import RecordError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file
from vlm_parity.util.text import escape_invisible


class Record(BaseModel):
    """Plain, typed, immutable data; an unknown field is an error."""

    # JSON has no infinity; a string keeps it readable by every parser.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number of items or an index, small enough for every reader of JSON and every computation with floats."""

Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

_VERSION = "schema_version"
_MAX_VERSION_LENGTH = 20
_MAX_RECORD_BYTES = 512 * 2**20
"""No record comes near; a larger file is something else, and reading it may take all memory."""
AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, record_class: type[AnyRecord]) -> AnyRecord:
    """Read one JSON record.

    Raises:
        RecordError: the file is missing, is not JSON, does not fit ``record_class``, or has no schema version
            or another one.
    """
    try:
        content = read_regular_file(path, _MAX_RECORD_BYTES)
        record = record_class.model_validate_json(content)
    except ValidationError as error:
        _check_version(path, record_class, _read_version(content))
        raise RecordError(f"{path}: not a readable {record_class.__name__}: {error}") from error
    except UnreadableFileError as error:
        raise RecordError(f"{path}: not a readable {record_class.__name__}: {error}") from error
    if _VERSION in record_class.model_fields and _VERSION not in record.model_fields_set:
        raise RecordError(f"{path}: {record_class.__name__} without {_VERSION}")
    _check_version(path, record_class, getattr(record, _VERSION, None))
    return record


def _read_version(content: bytes) -> Any:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data.get(_VERSION) if isinstance(data, dict) else None


def _check_version(path: Path, record_class: type[Record], version: Any) -> None:
    field = record_class.model_fields.get(_VERSION)
    if field is None or version is None or version == field.default:
        return
    shown = escape_invisible(str(version)[:_MAX_VERSION_LENGTH])
    raise RecordError(
        f"{path}: {record_class.__name__} of schema version {shown}, but this version of "
        f"vlm-parity reads {field.default}: use the version that wrote it, or run again"
    )


def write_record(path: Path, record: Record) -> None:
    """Write one JSON record; a reader sees the old file or the new one, never half of it."""
    write_atomically(path, record.model_dump_json(indent=1).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, creating its folder first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise


def compute_digest(value: Any) -> str:
    """Compute the SHA-256, in hex, of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
