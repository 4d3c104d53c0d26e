"""Run folders in zip files, such as the artifacts of a CI job: only their records are unpacked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.report.run_files import SHARDS
from vlm_parity.report.summarize_run import read_run_summary
from vlm_parity.schema.run_layout import is_path_component
from vlm_parity.util.errors import UsageError

SUFFIX = ".zip"
_MAX_BYTES = 4 * 2**30
"""Limit of all unpacked records; 6,000 verdicts have 0.2 GB."""
_RECORD = re.compile(rf"(?:.*/)?(?P<path>{SHARDS}/[^/]+/(?:(?:shard|fuzz)\.json|verdicts/.+\.json))")


def read_archived_run(archive: Path) -> RunSummary:
    """Read the results of a run folder in a zip file.

    Raises:
        UsageError: the file is no zip file, is damaged, or its records exceed 4 GiB.
    """
    with tempfile.TemporaryDirectory(prefix="vlm-parity-") as draft:
        folder = Path(draft, archive.stem)
        folder.mkdir()
        try:
            with ZipFile(archive) as file:
                _unpack_records(file, folder, archive)
        except (BadZipFile, OSError, NotImplementedError, RuntimeError) as error:  # encrypted: RuntimeError
            raise UsageError(f"RUN {archive}: cannot be unpacked: {error}") from error
        return replace(read_run_summary(folder), origin=f"archive {archive}")


def _unpack_records(file: ZipFile, folder: Path, archive: Path) -> None:
    records = list(_list_records(file))
    if sum(info.file_size for info, _ in records) > _MAX_BYTES:
        raise UsageError(f"RUN {archive}: its records exceed 4 GiB; unpack it and import the folder")
    for info, parts in records:
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read(info))


def _list_records(file: ZipFile) -> Iterator[tuple[ZipInfo, tuple[str, ...]]]:
    """Yield the records of shards with the parts of their paths in a run folder."""
    for info in file.infolist():
        match = _RECORD.fullmatch(info.filename)
        parts = PurePosixPath(match["path"]).parts if match is not None else ()
        if parts and all(map(is_path_component, parts)):
            yield info, parts
