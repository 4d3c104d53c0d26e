"""Named records in a TOML file, one table ``[[key]]`` each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from vlm_parity.schema.field_errors import describe_error, format_errors
from vlm_parity.schema.record import Record
from vlm_parity.util.errors import ParityError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file
from vlm_parity.util.text import escape_invisible

MAX_BYTES = 2**20
"""The known issues have 40 kB."""


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
        error_class: raised on failure; each line of the message names the file, the line, the entry and the
            field.

    Raises:
        ParityError: as an ``error_class``: the file cannot be read or is not TOML, a table does not fit, or
            two have the same name.
    """
    fields: dict[str, Any] = {key: (tuple[record_class, ...], ...)}  # type: ignore[valid-type]
    file_class = create_model("TomlFile", __base__=Record, **fields)
    text = _read_text(path, error_class)
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # invalid TOML, or an integer of thousands of digits
        raise error_class(f"{path}: {escape_invisible(str(error))}") from error
    except RecursionError as error:
        raise error_class(f"{path}: too many lists and tables within each other") from error
    places = _Places(path, text, key, data)
    try:
        records: tuple[AnyNamedRecord, ...] = getattr(file_class.model_validate(data), key)
    except ValidationError as error:
        raise error_class(
            format_errors(error, lambda detail: f"{places.locate(detail['loc'])}: {describe_error(detail)}")
        ) from error
    first_by_name: dict[str, int] = {}
    for index, record in enumerate(records):
        first = first_by_name.setdefault(record.name, index)
        if first != index:
            place = places.locate((key, index, "name"))
            raise error_class(f"{place}: is also the name of entry {first + 1}")
    return records


def _read_text(path: Path, error_class: type[ParityError]) -> str:
    try:
        content = read_regular_file(path, MAX_BYTES)
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnreadableFileError as error:
        raise error_class(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise error_class(f"{path}:{line}: not UTF-8: the byte 0x{content[error.start]:02x}") from error


class _Places:
    """Places of fields in a file. ``tomllib`` keeps no lines, so those of the tables are searched."""

    def __init__(self, path: Path, text: str, key: str, data: dict[str, Any]) -> None:
        self._path, self._data = path, data
        self._lines = text.split("\n")
        header = re.compile(rf"\s*\[\[\s*[\"']?{re.escape(key)}[\"']?\s*\]\]\s*(#.*)?")
        self._headers = [number for number, line in enumerate(self._lines) if header.fullmatch(line)]
        entries = data.get(key)
        if not isinstance(entries, list) or len(entries) != len(self._headers):
            self._headers = []  # a header in a text, or entries written as a list

    def locate(self, location: tuple[int | str, ...]) -> str:
        """Return the file, the line, the entry (by its name, or by its number without one) and the field."""
        match location:
            case (str(key), int(index), *field):
                entry = self._data[key][index]
                name = entry.get("name") if isinstance(entry, dict) else None
                words = [f"entry {name if isinstance(name, str) else index + 1}"]
                words += [".".join(map(str, field))] if field else []
                return f"{self._path}{self._find_line(index, field)}: {', '.join(words)}"
        return f"{self._path}: {'.'.join(map(str, location))}"

    def _find_line(self, index: int, field: list[int | str]) -> str:
        """Return the line of the field, or that of the header of its table; empty if neither is known."""
        if not self._headers:
            return ""
        start = self._headers[index]
        stop = self._headers[index + 1] if index + 1 < len(self._headers) else len(self._lines)
        key = re.compile(rf"\s*[\"']?{re.escape(str(field[0]))}[\"']?\s*[.=].*") if field else None
        found = (number for number in range(start + 1, stop) if key and key.fullmatch(self._lines[number]))
        return f":{next(found, start) + 1}"
