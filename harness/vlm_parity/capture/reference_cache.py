"""Keeps the reference's traces between runs: they change with the case, the model and the versions."""

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
"""Gigabytes: the embedded cases and models take about 6 in each environment."""

ABANDONED_AFTER_S = 24 * 3600
"""Seconds: no trace takes a day to be written."""


class ReferenceCache:
    """Traces by what they depend on, for one model and one way of running it."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
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
        """Where the trace of a case lies once it is there."""
        return self._root / compute_digest([self._basis, case.digest(), digest_encoded_media(case)])[:32]

    def draft(self, case: Case) -> Path:
        """Where a trace is written before it is known to be whole; no other process uses it."""
        folder = self.folder(case)
        return folder.with_name(f"{folder.name}.{os.getpid()}.draft")

    def find(self, case: Case) -> Trace | None:
        """The trace of a case, if it was captured before."""
        folder = self.folder(case)
        try:
            trace = read_trace(folder)
        except RecordError:
            return None
        os.utime(folder)  # what was used last is thrown away last
        return trace

    def borrow(self, case: Case) -> Path:
        """A draft that holds the cached trace, for something to be added to it."""
        draft, folder = self.draft(case), self.folder(case)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for file in (RECORD_FILE, ARRAY_FILE):
            os.link(folder / file, draft / file)
        copy_sketch(folder, draft)
        return draft

    def keep(self, case: Case) -> Path:
        """Moves a finished draft into its place; where a trace is there already, its floors only."""
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
    """A crash or an error may be gone the next time; a refusal by the front end will not."""
    return trace.outcome in {Outcome.CAPTURED, Outcome.REFUSED}


def trim_cache(limit_bytes: float | None = None) -> int:
    """Throws away the traces that were not used for longest until the rest fits the limit.

    Args:
        limit_bytes: how much may stay; by default ``$VLM_PARITY_CACHE_GB`` gigabytes.

    Returns:
        How many bytes were freed.
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
    """Whether nobody finishes it any more; the process that writes it may finish it while it is looked at."""
    try:
        return time.time() - draft.stat().st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:
        return False


def _folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _remove_entry(folder: Path) -> int:
    """Returns: how many bytes were freed."""
    size = _folder_size(folder)
    shutil.rmtree(folder)
    return size


def copy_arrays(source: Path, folder: Path) -> None:
    """Puts a copy of a trace's arrays and noise floors, if it has any, into another folder; no link, for
    users may change it.
    """
    if (source / ARRAY_FILE).exists():
        shutil.copyfile(source / ARRAY_FILE, folder / ARRAY_FILE)
    if (source / FLOORS).is_dir():
        shutil.copytree(source / FLOORS, folder / FLOORS, dirs_exist_ok=True)
