"""Named records in a TOML file, one table ``[[key]]`` each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from vlm_parity.schema.record import Record
from vlm_parity.util.errors import ParityError


class NamedRecord(Record):
    """A record that its file identifies by name."""

    name: str


AnyNamedRecord = TypeVar("AnyNamedRecord", bound=NamedRecord)


def read_toml_records(
    path: Path, key: str, record_class: type[AnyNamedRecord], error_class: type[ParityError]
) -> tuple[AnyNamedRecord, ...]:
    """Read all records of a file, in its order.

    Args:
        path: the TOML file.
        key: the name of its tables, the only key at its top level.
        record_class: the schema of a table.
        error_class: raised on failure; each line of the message names the file, the entry and the field.

    Raises:
        ParityError: as an ``error_class``: the file is missing or is not TOML, a table does not fit, or two
            have the same name.
    """
    fields: dict[str, Any] = {key: (tuple[record_class, ...], ...)}  # type: ignore[valid-type]
    file_class = create_model("TomlFile", __base__=Record, **fields)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        records: tuple[AnyNamedRecord, ...] = getattr(file_class.model_validate(data), key)
    except ValidationError as error:
        lines = [
            f"{path}: {_format_location(data, detail['loc'])}: {detail['msg']}" for detail in error.errors()
        ]
        raise error_class("\n".join(lines)) from error
    except FileNotFoundError as error:
        raise error_class(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # invalid UTF-8 and invalid TOML are ValueErrors
        raise error_class(f"{path}: {error}") from error
    names = [record.name for record in records]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise error_class(f"{path}: two entries are named {', '.join(duplicates)}")
    return records


def _format_location(data: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """Format the location of an error: the name of the entry, or its number if it has none, and the field."""
    match location:
        case (str(key), int(index), *field):
            entry = data[key][index]
            name = entry.get("name") if isinstance(entry, dict) else None
            return f"entry {name or index + 1}, {'.'.join(map(str, field))}"
    return ".".join(map(str, location))
