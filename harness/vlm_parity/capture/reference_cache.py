"""A cache of reference traces between runs, keyed by case, model, settings and package versions."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.environment import describe_environment
from vlm_parity.media.load import digest_encoded_media
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.array_sketch import SKETCH_SCHEMA, copy_sketch
from vlm_parity.schema.case import Case
from vlm_parity.schema.noise_floor import FLOORS
from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.trace import ARRAY_FILE, RECORD_FILE, TRACE_SCHEMA, Outcome, Trace, read_trace
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.errors import RecordError
from vlm_parity.util.file_lock import acquire_lock

LIMIT_VARIABLE = "VLM_PARITY_CACHE_GB"
DEFAULT_LIMIT = 20.0
"""Gigabytes. The bundled cases and models take about 6 in each environment."""

ABANDONED_AFTER_S = 24 * 3600
"""Seconds. Writing a trace never takes a day."""


class ReferenceCache:
    """The cached traces of one model under one set of settings."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        """Select the traces that depend on this model and these settings.

        Args:
            checkpoint: of the model.
            settings: of the reference.
        """
        self._root = get_cache_root() / "reference"
        self._basis = [
            TRACE_SCHEMA,
            SKETCH_SCHEMA,
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
        """Return the trace of a case if it is cached, and mark it as used."""
        folder = self.folder(case)
        try:
            trace = read_trace(folder)
        except RecordError:
            return None
        os.utime(folder)  # the cache is trimmed by last use
        return trace

    def create_linked_draft(self, case: Case) -> Path:
        """Return a draft that links to the cached trace, so that a noise floor can be added to it."""
        draft, folder = self.draft(case), self.folder(case)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for file in (RECORD_FILE, ARRAY_FILE):
            os.link(folder / file, draft / file)
        copy_sketch(folder, draft)
        return draft

    def store_draft(self, case: Case) -> Path:
        """Move a finished draft to its place; if a trace is cached already, add the noise floors only."""
        draft, folder = self.draft(case), self.folder(case)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            if (draft / FLOORS).is_dir():
                shutil.copytree(draft / FLOORS, folder / FLOORS, dirs_exist_ok=True)
            shutil.rmtree(draft)
        return folder


def is_cacheable(trace: Trace) -> bool:
    """Return whether the outcome is deterministic: a crash or an error may not happen again."""
    return trace.outcome in {Outcome.CAPTURED, Outcome.REFUSED}


def trim_cache(limit_bytes: float | None = None) -> int:
    """Delete the least recently used traces until the rest fits the limit.

    Args:
        limit_bytes: the maximum size; by default ``$VLM_PARITY_CACHE_GB`` gigabytes.

    Returns:
        The number of bytes freed.
    """
    if limit_bytes is None:
        limit_bytes = float(os.environ.get(LIMIT_VARIABLE, DEFAULT_LIMIT)) * 1e9
    with acquire_lock("trim"):
        return _trim_folder(get_cache_root() / "reference", limit_bytes)


def _trim_folder(root: Path, limit_bytes: float) -> int:
    if not root.is_dir():
        return 0
    drafts = set(root.glob("*.draft"))
    freed = sum(_remove_entry(draft) for draft in drafts if _is_abandoned(draft))
    folders = sorted(set(root.iterdir()) - drafts, key=lambda folder: -folder.stat().st_mtime)
    kept, full = 0, False
    for folder in folders:
        size = _folder_size(folder)
        full = full or kept + size > limit_bytes
        if full:
            freed += _remove_entry(folder)
        else:
            kept += size
    return freed


def _is_abandoned(draft: Path) -> bool:
    """Return whether a draft is too old to be still in progress."""
    try:
        return time.time() - draft.stat().st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:  # finished in the meantime
        return False


def _folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _remove_entry(folder: Path) -> int:
    """Delete a folder and return the number of bytes freed."""
    size = _folder_size(folder)
    shutil.rmtree(folder)
    return size


def copy_arrays(source: Path, folder: Path) -> None:
    """Copy the arrays and noise floors of a trace, if it has any, into another folder.

    The files are not linked, because users may modify those of a run.
    """
    if (source / ARRAY_FILE).exists():
        shutil.copyfile(source / ARRAY_FILE, folder / ARRAY_FILE)
    if (source / FLOORS).is_dir():
        shutil.copytree(source / FLOORS, folder / FLOORS, dirs_exist_ok=True)
