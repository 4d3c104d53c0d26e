"""A cache of reference traces between runs, keyed by case, model, settings and package versions."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.cache_lease import LeaseHolder, hold_unused
from vlm_parity.capture.environment import describe_environment
from vlm_parity.media.load import digest_encoded_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.array_sketch import SKETCH_FILE, SKETCH_SCHEMA
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.schema.manifest import check_manifest, write_manifest
from vlm_parity.schema.noise_floor import (
    FLOOR_RECORD,
    FLOOR_SCHEMA,
    FLOORS,
    FloorRecord,
    get_floor_folder,
)
from vlm_parity.schema.record import compute_digest, read_record
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE, TRACE_SCHEMA, Outcome, Trace, read_trace
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.environment_variables import CACHE_LIMIT_VARIABLE, read_number
from vlm_parity.util.errors import DamagedFolderError, RecordError
from vlm_parity.util.file_lock import acquire_lock

DEFAULT_LIMIT = 20.0
"""Gigabytes. The bundled cases and models take about 6 in each environment."""

ABANDONED_AFTER_S = 24 * 3600
"""Seconds. Writing a trace never takes a day."""
_REMOVED = ".removed"
"""Ends the name of an entry that is being deleted."""


class ReferenceCache:
    """The cached traces of one model under one set of settings."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings, leases: LeaseHolder) -> None:
        """Select the traces that depend on this model and these settings.

        Args:
            checkpoint: of the model.
            settings: of the reference.
            leases: keep the traces that are found or stored from being deleted.
        """
        self._root = get_cache_root() / "reference"
        self._leases = leases
        self._basis = [
            TRACE_SCHEMA,
            SKETCH_SCHEMA,
            FLOOR_SCHEMA,
            checkpoint.digest,
            describe_environment(load_backend_class(REFERENCE_BACKEND), settings).model_dump(mode="json"),
            settings.depth,
            sorted((name, repr(value)) for name, value in settings.engine_args.items()),
        ]

    def folder(self, case: Case) -> Path:
        """Return the folder of the trace of a case, which may not exist yet."""
        return self._root / compute_digest([self._basis, case.digest(), digest_encoded_media(case)])[:32]

    def draft(self, case: Case) -> Path:
        """Return the folder in which this process, and no other, writes a trace until it is complete."""
        folder = self.folder(case)
        return folder.with_name(f"{folder.name}.{os.getpid()}.draft")

    def find(self, case: Case) -> Trace | None:
        """Return the trace of a case if it is cached, and mark it as used.

        Raises:
            DamagedFolderError: the cached trace was damaged and is removed; the message names the file.
        """
        folder = self.folder(case)
        if not self._leases.acquire(folder):
            if folder.exists():
                self._discard(folder)
                raise DamagedFolderError(f"{folder}: not a folder")
            return None
        try:
            check_manifest(folder)
            trace = read_trace(folder)
        except RecordError as error:
            self._discard(folder)
            raise DamagedFolderError(str(error)) from error
        os.utime(folder)  # the cache is trimmed by last use
        return trace

    def has_floor(self, case: Case, dtype: Dtype) -> bool:
        """Return whether a cached trace has its noise floor; one that could not be measured is removed.

        Raises:
            DamagedFolderError: the floor was damaged and is removed; the message names the file.
        """
        folder = get_floor_folder(self.folder(case), dtype)
        if not folder.exists():
            return False
        try:
            check_manifest(folder)
            record = read_record(folder / FLOOR_RECORD, FloorRecord)
        except RecordError as error:
            remove_entry(folder)
            raise DamagedFolderError(str(error)) from error
        if record.problem:
            remove_entry(folder)
        return not record.problem

    def _discard(self, folder: Path) -> None:
        """Remove a damaged entry, unless another process has replaced it already."""
        if self._leases.holds(folder) or not folder.is_dir():
            remove_entry(folder)
        self._leases.release(folder)

    def create_linked_draft(self, case: Case) -> Path:
        """Return a draft that links to the cached trace, so that a noise floor can be added to it."""
        draft, folder = self.draft(case), self.folder(case)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for name in (RECORD_FILE, *(file for file in (ARRAY_FILE, SKETCH_FILE) if (folder / file).exists())):
            os.link(folder / name, draft / name)
        return draft

    def store_draft(self, case: Case) -> Path:
        """Move a finished draft to its place; if a trace is cached already, add the noise floors only."""
        draft, folder = self.draft(case), self.folder(case)
        floors = list(draft.glob(f"{FLOORS}/*"))
        for floor in floors:
            write_manifest(floor)
        if not self._leases.holds(folder):
            write_manifest(draft)
            _publish(draft, folder)
        if draft.exists():
            for floor in floors:
                _publish(floor, folder / FLOORS / floor.name)
            shutil.rmtree(draft)
        self._leases.acquire(folder)
        return folder


def _publish(draft: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process has finished the same one first."""
    folder.parent.mkdir(exist_ok=True)
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def is_cacheable(trace: Trace) -> bool:
    """Return whether the outcome is deterministic: a crash or an error may not happen again."""
    return trace.outcome in {Outcome.CAPTURED, Outcome.REFUSED}


def trim_cache(limit_bytes: float | None = None) -> int:
    """Delete the least recently used traces until the rest fits the limit; those in use are kept.

    Args:
        limit_bytes: the maximum size; by default ``$VLM_PARITY_CACHE_GB`` gigabytes.

    Returns:
        The number of bytes freed.
    """
    if limit_bytes is None:
        limit_bytes = read_number(CACHE_LIMIT_VARIABLE, "gigabytes", DEFAULT_LIMIT) * 1e9
    with acquire_lock("trim"):
        return _trim_folder(get_cache_root() / "reference", limit_bytes)


def _trim_folder(root: Path, limit_bytes: float) -> int:
    if not root.is_dir():
        return 0
    drafts, removed = set(root.glob("*.draft")), set(root.glob(f"*{_REMOVED}"))
    freed = sum(remove_entry(draft) for draft in drafts if _is_abandoned(draft))
    for folder in removed:
        _delete(folder)
    folders = sorted(set(root.iterdir()) - drafts - removed, key=lambda folder: -folder.stat().st_mtime)
    kept, full = 0, False
    for folder in folders:
        size = _compute_size(folder)
        full = full or kept + size > limit_bytes
        with hold_unused(folder) if full else nullcontext(False) as is_free:
            if is_free:
                freed += remove_entry(folder)
            else:
                kept += size
    return freed


def _is_abandoned(draft: Path) -> bool:
    """Return whether a draft is too old to be still in progress."""
    try:
        return time.time() - draft.stat().st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:  # finished in the meantime
        return False


def _compute_size(folder: Path) -> int:
    if not folder.is_dir():
        return folder.stat().st_size
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def remove_entry(folder: Path) -> int:
    """Remove an entry, or a noise floor in it, and return the number of bytes freed.

    It is renamed first: no reader finds a part of it, even if this process is killed.
    """
    size = _compute_size(folder)
    removed = folder.with_name(f"{folder.name}.{os.getpid()}{_REMOVED}")
    folder.rename(removed)
    _delete(removed)
    return size


def _delete(removed: Path) -> None:
    """Delete a renamed entry; another process that trims the cache may do the same at once."""
    if removed.is_dir():
        shutil.rmtree(removed, ignore_errors=True)
    else:
        removed.unlink(missing_ok=True)


def copy_arrays(source: Path, folder: Path) -> None:
    """Copy the arrays and noise floors of a trace, if it has any, into another folder.

    The files are not linked, because users may modify those of a run.
    """
    if (source / ARRAY_FILE).exists():
        shutil.copyfile(source / ARRAY_FILE, folder / ARRAY_FILE)
    if (source / FLOORS).is_dir():
        shutil.copytree(source / FLOORS, folder / FLOORS, dirs_exist_ok=True)
