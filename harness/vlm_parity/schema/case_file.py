"""Cases in YAML files (``cases/conversations/*.yaml``): errors name the file, the line and the field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from vlm_parity.schema.case import CASE_NAME, DERIVED_FIELDS, Case, TextPart
from vlm_parity.schema.media_source import MediaFile
from vlm_parity.schema.record import write_atomically
from vlm_parity.schema.yaml_file import YamlFile, read_yaml
from vlm_parity.util.errors import CaseError
from vlm_parity.util.text import escape_invisible

_NEXT_LINE = repr("\x85")[1:-1]
"""U+0085: PyYAML writes it unescaped unless all non-ASCII characters are escaped, and reads it as a space."""


def load_cases(folder: Path, *more: Path, media_roots: Sequence[Path] = ()) -> dict[str, Case]:
    """Load the cases of a folder by name, in the order of the file names.

    Args:
        folder: must hold a case.
        more: further folders, which may be empty or missing.
        media_roots: further folders that media files may lie in; see ``Case.media_roots``.

    Raises:
        CaseError: a file does not fit the schema, the first folder has no case, or two cases have the same
            name.
    """
    cases: dict[str, Case] = {}
    for searched in (folder, *more):
        for path in _list_case_files(searched):
            if path.stem in cases:
                raise CaseError(f"{path}: {cases[path.stem].folder} already has a case {path.stem}")
            cases[path.stem] = load_case(path, media_roots)
        if not cases:
            raise CaseError(f"{searched}: no cases (*.yaml)")
    return cases


def _list_case_files(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CaseError(f"{folder}: cannot be read as a folder of cases: {error.strerror}") from error
    for path in paths:
        if path.suffix.lower() in {".yaml", ".yml"} and path.suffix != ".yaml":
            raise CaseError(f"{path}: would not be read: rename it to {path.stem}.yaml")
    return [path for path in paths if path.suffix == ".yaml"]


def load_case(path: Path, media_roots: Sequence[Path] = ()) -> Case:
    """Load one case file; the case is named after the file.

    Args:
        path: the file.
        media_roots: further folders that media files may lie in; see ``Case.media_roots``.

    Raises:
        CaseError: the file cannot be read, is not YAML, does not fit the schema, or names a media file that
            lies in none of the folders for media.
    """
    file = read_yaml(path, CaseError, "summary and messages")
    if not re.fullmatch(CASE_NAME, path.stem):
        raise CaseError(f"{path}: the file names the case: only lower-case letters, digits and _ are allowed")
    for derived in DERIVED_FIELDS:
        if derived in file.data:
            raise CaseError(f"{file.locate((derived,))}no such key here")
    derived_data = {"name": path.stem, "folder": path.parent, "media_roots": tuple(media_roots)}
    try:
        case = Case.model_validate({**file.data, **derived_data})
    except ValidationError as error:
        raise CaseError(file.format_error(error)) from error
    _check_media_files(file, case)
    return case


def _check_media_files(file: YamlFile, case: Case) -> None:
    for turn, message in enumerate(case.messages):
        for index, part in enumerate(message.parts):
            if not isinstance(part, TextPart) and isinstance(part.source, MediaFile):
                try:
                    case.resolve(part.source)
                except CaseError as error:
                    location = ("messages", turn, "content", index, part.modality, "file")
                    raise CaseError(f"{file.locate(location)}{error}") from error


def write_case(path: Path, case: Case, comment: Iterable[str] = ()) -> None:
    """Write a case to a file for ``load_case``, which will name the case after the file.

    Args:
        path: the file.
        case: must have recipes or URLs as media: media files are not copied.
        comment: lines at the top of the file; non-printable characters are escaped.
    """
    data = case.model_dump(mode="json", exclude_defaults=True, exclude={"name", "folder"})
    readable = _NEXT_LINE not in repr(data)
    text = yaml.safe_dump(data, allow_unicode=readable, sort_keys=False, default_flow_style=None, width=110)
    lines = "".join(f"# {escape_invisible(line)}\n" for line in comment)
    write_atomically(path, (lines + text).encode())
