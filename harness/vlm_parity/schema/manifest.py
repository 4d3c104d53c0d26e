"""Manifests: digests of all files of a cached folder, so that damage is found before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from vlm_parity.schema.record import Record, compute_digest, read_record, write_record
from vlm_parity.util.errors import DamagedFolderError, RecordError

MANIFEST_FILE = "manifest.json"
MANIFEST_SCHEMA = 1


class Manifest(Record):
    """Digests of the files of one folder."""

    schema_version: int = MANIFEST_SCHEMA
    files: dict[str, str]
    """SHA-256, in hex, by path within the folder, with ``/`` between its parts."""

    @property
    def digest(self) -> str:
        """The digest of all names and contents."""
        return compute_digest(self.files)


def write_manifest(folder: Path) -> Manifest:
    """Write the manifest of a finished folder: if it exists, the folder was complete.

    A subfolder with a manifest of its own is left out.
    """
    manifest = Manifest(files={name: _compute_file_digest(folder / name) for name in _list_files(folder)})
    write_record(folder / MANIFEST_FILE, manifest)
    return manifest


def check_manifest(folder: Path) -> Manifest:
    """Compare a folder with its manifest, reading all of its files, and return the manifest.

    Raises:
        DamagedFolderError: it is no folder, has no readable manifest, or a file is missing, was changed or
            added; the message names the first.
    """
    try:
        manifest = read_record(folder / MANIFEST_FILE, Manifest)
    except RecordError as error:
        raise DamagedFolderError(str(error)) from error
    try:
        files = set(_list_files(folder))
    except OSError as error:
        raise DamagedFolderError(f"{folder}: cannot be listed: {error}") from error
    if missing := sorted(manifest.files.keys() - files):
        raise DamagedFolderError(f"{folder / missing[0]}: missing, although {MANIFEST_FILE} lists it")
    if added := sorted(files - manifest.files.keys()):
        raise DamagedFolderError(f"{folder / added[0]}: not listed in {MANIFEST_FILE}")
    for name, digest in manifest.files.items():
        if _compute_file_digest(folder / name) != digest:
            raise DamagedFolderError(f"{folder / name}: changed since it was written")
    return manifest


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the paths of the files, in the order of their names; the manifest is not one of them."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not (path / MANIFEST_FILE).exists():
            yield from (f"{path.name}/{name}" for name in _list_files(path))
        elif not path.is_dir() and path.name != MANIFEST_FILE:
            yield path.name


def _compute_file_digest(path: Path) -> str:
    if not path.is_file():
        raise DamagedFolderError(f"{path}: no regular file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFolderError(f"{path}: cannot be read: {error.strerror}") from error
