"""A sketch of a trace's arrays: a thousandth of their size, and enough to tell how far two are apart.

The references of two environments cannot be laid side by side: their arrays are deleted, or lie on
another machine. So every row of an array is projected on a few directions that are the same
everywhere. By the lemma of Johnson and Lindenstrauss the difference of two projected rows is as long
as the difference of the rows themselves, on average over the directions:

    mean over k of (a . s_k - b . s_k)^2 / width  estimates  mean square of (a - b)

without bias, for directions s_k of independent entries +1 and -1; with eight of them the estimate for
one row has a standard deviation of at most half of what it estimates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vlm_parity.schema.record import write_atomically
from vlm_parity.schema.safetensors_file import write_safetensors
from vlm_parity.util.errors import SketchError
from vlm_parity.util.numeric import compute_log_softmax

SKETCH_FILE = "sketch.safetensors"
SKETCH_SCHEMA = 1
"""Goes up when the same array would get another sketch."""
DIRECTIONS = 8
_SEED = 20260729
_ROWS_AT_ONCE = 16
_WHOLE = {"positions"}
"""Small, and compared exactly."""
_LOGITS = {"prefill", "decode"}
"""Compared as log-probabilities: raw logits leave a constant free."""


@dataclass(frozen=True)
class ArraySketch:
    """What is kept of one array."""

    shape: tuple[int, ...]
    digest: bytes
    """SHA-256 of dtype, shape and bytes."""
    rows: np.ndarray
    """float64 [rows, directions]: each row, flattened, on each direction, over the root of its width;
    of logits the log-softmax."""
    mean_square: np.ndarray
    """float64 [rows], exact."""


@dataclass(frozen=True)
class Sketch:
    """What is kept of the arrays of one trace."""

    arrays: Mapping[str, ArraySketch]
    whole: Mapping[str, np.ndarray]


def estimate_rms_distance(a: ArraySketch, b: ArraySketch) -> np.ndarray:
    """float64 [rows]: an estimate of the root mean square difference of each row of two arrays."""
    estimate: np.ndarray = np.sqrt(np.mean(np.square(a.rows - b.rows), axis=1))
    return estimate


def sketch_arrays(tensors: Mapping[str, np.ndarray]) -> Sketch:
    """Sketches the arrays of a trace."""
    return Sketch(
        {name: _sketch_array(name, array) for name, array in tensors.items() if name not in _WHOLE},
        {name: array for name, array in tensors.items() if name in _WHOLE},
    )


def write_sketch(folder: Path, made: Sketch) -> None:
    """Writes a sketch into the folder of its trace."""
    arrays = dict(made.whole)
    for name, kept in made.arrays.items():
        arrays[f"{name}/shape"] = np.array(kept.shape, dtype=np.int64)
        arrays[f"{name}/digest"] = np.frombuffer(kept.digest, dtype=np.uint8)
        arrays[f"{name}/rows"] = kept.rows
        arrays[f"{name}/mean_square"] = kept.mean_square
    write_safetensors(folder / SKETCH_FILE, arrays)


def read_sketch(folder: Path) -> Sketch:
    """The sketch of the trace in ``folder``; an empty one where none was kept.

    Raises:
        SketchError: there is a file that holds none.
    """
    path = folder / SKETCH_FILE
    if not path.exists():
        return Sketch({}, {})
    try:
        arrays = load_file(path)
        names = [name.removesuffix("/shape") for name in arrays if name.endswith("/shape")]
        return Sketch(
            {name: _read(arrays, name) for name in names},
            {name: array for name, array in arrays.items() if "/" not in name},
        )
    except (SafetensorError, KeyError, OSError) as problem:
        raise SketchError(f"{path}: holds no sketch: {problem}") from problem


def copy_sketch(source: Path, folder: Path) -> None:
    """Puts a copy of a trace's sketch, if it has one, into another folder."""
    if source != folder and (source / SKETCH_FILE).exists():
        write_atomically(folder / SKETCH_FILE, (source / SKETCH_FILE).read_bytes())


@lru_cache(maxsize=2)
def draw_directions(width: int) -> np.ndarray:
    """float64 [width, directions] of +1 and -1: the bits of PCG64's raw output, in order, the lowest
    first. NumPy promises that this stream is the same in all of its versions (NEP 19).
    """
    words = np.random.PCG64(_SEED).random_raw(-(-width * DIRECTIONS // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[: width * DIRECTIONS]
    signs: np.ndarray = bits.reshape(width, DIRECTIONS) * 2.0 - 1.0
    return signs


def _sketch_array(name: str, array: np.ndarray) -> ArraySketch:
    flat = array.reshape(array.shape[0], math.prod(array.shape[1:])) if array.ndim > 1 else array[np.newaxis]
    rows = np.empty((len(flat), DIRECTIONS))
    mean_square = np.empty(len(flat))
    with np.errstate(invalid="ignore"):  # what is not a number stays none
        for start, block in _blocks(flat):
            wide = compute_log_softmax(block) if name in _LOGITS else block
            stop = start + len(block)
            rows[start:stop] = wide @ draw_directions(flat.shape[1]) / np.sqrt(flat.shape[1])
            mean_square[start:stop] = np.mean(np.square(wide), axis=1)
    return ArraySketch(array.shape, _digest(array), rows, mean_square)


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """A few rows at a time, in float64: logits are large."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield start, rows[start : start + _ROWS_AT_ONCE].astype(np.float64)


def _digest(array: np.ndarray) -> bytes:
    hashed = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    hashed.update(np.ascontiguousarray(array).data)
    return hashed.digest()


def _read(arrays: Mapping[str, np.ndarray], name: str) -> ArraySketch:
    return ArraySketch(
        shape=tuple(arrays[f"{name}/shape"].tolist()),
        digest=arrays[f"{name}/digest"].tobytes(),
        rows=arrays[f"{name}/rows"],
        mean_square=arrays[f"{name}/mean_square"],
    )
