"""Sketches of arrays: a thousandth of their size, and enough to estimate the distance of two arrays.

The arrays of two environments' references are rarely available at the same time: they are deleted with the
run, or are on different machines. Digests alone cannot replace them, since another release of torch changes
the last bits of nearly every array; row statistics and sampled entries miss a change of direction or of a few
entries, and would need as much code.

Each row of an array is projected onto a few directions, the same on every machine. By the lemma of Johnson
and Lindenstrauss the projections preserve distances, on average over the directions:

    mean over k of (a . s_k - b . s_k)^2 / width  estimates  mean square of (a - b)

without bias, for directions s_k of independent entries +1 and -1. With eight directions the standard
deviation of the estimate for one row is at most half its value.
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
"""Incremented when the sketch of the same array changes."""
DIRECTIONS = 8
_SEED = 20260729
_ROWS_AT_ONCE = 16
_WHOLE = {"positions"}
"""Small arrays, stored unchanged and compared exactly."""
_WHOLE_AXES = 2
_LOGITS = {"prefill", "decode"}
"""Compared as log-probabilities: raw logits are defined up to a constant."""


@dataclass(frozen=True)
class ArraySketch:
    """Sketch of one array."""

    shape: tuple[int, ...]
    digest: bytes
    """SHA-256 of dtype, shape and bytes."""
    rows: np.ndarray
    """float64 [rows, directions]: the projection of each flattened row (for logits, of its log-softmax),
    divided by the square root of its width."""
    mean_square: np.ndarray
    """float64 [rows], exact."""


@dataclass(frozen=True)
class Sketch:
    """Sketches of the arrays of one trace."""

    arrays: Mapping[str, ArraySketch]
    whole: Mapping[str, np.ndarray]


def estimate_rms_distance(a: ArraySketch, b: ArraySketch) -> np.ndarray:
    """Estimate the root mean square difference of each row of two arrays: float64 [rows]."""
    estimate: np.ndarray = np.sqrt(np.mean(np.square(a.rows - b.rows), axis=1))
    return estimate


def sketch_arrays(tensors: Mapping[str, np.ndarray]) -> Sketch:
    """Sketch the arrays of a trace."""
    return Sketch(
        {name: _sketch_array(name, array) for name, array in tensors.items() if name not in _WHOLE},
        {name: array for name, array in tensors.items() if name in _WHOLE},
    )


def write_sketch(folder: Path, sketch: Sketch) -> None:
    """Write a sketch to the folder of its trace."""
    arrays = dict(sketch.whole)
    for name, array in sketch.arrays.items():
        arrays[f"{name}/shape"] = np.array(array.shape, dtype=np.int64)
        arrays[f"{name}/digest"] = np.frombuffer(array.digest, dtype=np.uint8)
        arrays[f"{name}/rows"] = array.rows
        arrays[f"{name}/mean_square"] = array.mean_square
    write_safetensors(folder / SKETCH_FILE, arrays)


def read_sketch(folder: Path) -> Sketch:
    """Read the sketch of the trace in ``folder``; it is empty if there is no file.

    Raises:
        SketchError: the file does not hold a sketch.
    """
    path = folder / SKETCH_FILE
    if not path.exists():
        return Sketch({}, {})
    try:
        arrays = load_file(path)
        names = [name.removesuffix("/shape") for name in arrays if name.endswith("/shape")]
        return Sketch(
            {name: _read(arrays, name) for name in names},
            {name: _check_whole(name, array) for name, array in arrays.items() if "/" not in name},
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise SketchError(f"{path}: not a sketch: {error}") from error


def copy_sketch(source: Path, folder: Path) -> None:
    """Copy the sketch of a trace, if it has one, to another folder."""
    if source != folder and (source / SKETCH_FILE).exists():
        write_atomically(folder / SKETCH_FILE, (source / SKETCH_FILE).read_bytes())


@lru_cache(maxsize=2)
def draw_directions(width: int) -> np.ndarray:
    """Return the directions, float64 [width, directions] of +1 and -1.

    They are the bits of PCG64's raw output, lowest first: NumPy guarantees this stream in every version
    (NEP 19).
    """
    words = np.random.PCG64(_SEED).random_raw(-(-width * DIRECTIONS // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[: width * DIRECTIONS]
    signs: np.ndarray = bits.reshape(width, DIRECTIONS) * 2.0 - 1.0
    return signs


def _sketch_array(name: str, array: np.ndarray) -> ArraySketch:
    flat = array.reshape(array.shape[0], math.prod(array.shape[1:])) if array.ndim > 1 else array[np.newaxis]
    rows = np.empty((len(flat), DIRECTIONS))
    mean_square = np.empty(len(flat))
    with np.errstate(invalid="ignore"):  # NaN stays NaN
        for start, block in _blocks(flat):
            wide = compute_log_softmax(block) if name in _LOGITS else block
            stop = start + len(block)
            rows[start:stop] = wide @ draw_directions(flat.shape[1]) / np.sqrt(flat.shape[1])
            mean_square[start:stop] = np.mean(np.square(wide), axis=1)
    return ArraySketch(array.shape, _digest(array), rows, mean_square)


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a few rows at a time, in float64, with the index of the first: logits are large."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield start, rows[start : start + _ROWS_AT_ONCE].astype(np.float64)


def _digest(array: np.ndarray) -> bytes:
    hashed = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    hashed.update(np.ascontiguousarray(array).data)
    return hashed.digest()


def _read(arrays: Mapping[str, np.ndarray], name: str) -> ArraySketch:
    sketch = ArraySketch(
        shape=tuple(arrays[f"{name}/shape"].astype(np.int64).reshape(-1).tolist()),
        digest=arrays[f"{name}/digest"].tobytes(),
        rows=arrays[f"{name}/rows"],
        mean_square=arrays[f"{name}/mean_square"],
    )
    count = sketch.shape[0] if len(sketch.shape) > 1 else 1
    if sketch.rows.shape != (count, DIRECTIONS) or sketch.mean_square.shape != (count,):
        raise ValueError(f"{name} has {sketch.rows.shape} values for the shape {sketch.shape}")
    return sketch


def _check_whole(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != _WHOLE_AXES:
        raise ValueError(f"{name} has {array.ndim} axes instead of {_WHOLE_AXES}")
    return array
