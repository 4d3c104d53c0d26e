"""Access to the arrays of a trace, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vlm_parity.schema.trace import ARRAY_FILE
from vlm_parity.util.errors import RecordError


class ArrayFile:
    """The open arrays of one trace."""

    def __init__(self, handle: Any, skipped: int = 0, kept: int | None = None) -> None:
        """Wrap an open safetensors file.

        Args:
            handle: the file.
            skipped: the number of rows at the start of each array to leave out.
            kept: the largest number of rows after those; None for all.
        """
        self._handle, self._skipped, self._kept = handle, skipped, kept
        self.names = frozenset(handle.keys())

    def skip_rows(self, rows: int) -> ArrayFile:
        """Return the same arrays without the first rows of each."""
        return ArrayFile(self._handle, self._skipped + rows, self._kept)

    def keep_rows(self, rows: int) -> ArrayFile:
        """Return the same arrays with the first rows of each only."""
        return ArrayFile(self._handle, self._skipped, rows)

    def __contains__(self, name: str) -> bool:
        """Return whether the file holds an array of this name."""
        return name in self.names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one array, without reading it."""
        rows, *others = self._handle.get_slice(name).get_shape()
        return (len(range(self._skipped, rows)[: self._kept]), *others)

    def read(self, name: str) -> np.ndarray:
        """Read a whole array; meant for small ones."""
        array: np.ndarray = self._handle.get_tensor(name)[self._skipped :][: self._kept]
        return array

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read rows [start, stop) of one array."""
        rows: np.ndarray = self._handle.get_slice(name)[start + self._skipped : stop + self._skipped]
        return rows


@contextmanager
def open_arrays(folder: Path) -> Iterator[ArrayFile | None]:
    """Open the arrays of the trace in ``folder``; yield None if it has none.

    Raises:
        RecordError: the file does not hold arrays.
    """
    path = folder / ARRAY_FILE
    if not path.exists():
        yield None
        return
    try:
        file = safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise RecordError(f"{path}: not readable arrays: {error}") from error
    with file as handle:
        yield ArrayFile(handle)
