"""The noise floor of a case: the numerical noise of transformers itself.

The truth is a run in a wider dtype (float64 for the small synthetic checkpoints). The samples are
runs in the dtype under test, with different attention kernels, on a GPU also in a batch. The floor stores the
distance of each sample from the truth, row by row; ``vlm_parity.diff.noise_tolerance`` derives the limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vlm_parity.schema.record import Record, read_record, write_record
from vlm_parity.schema.safetensors_file import write_safetensors
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import RecordError

FLOOR_RECORD = "floor.json"
FLOOR_FILE = "floor.safetensors"
FLOOR_SCHEMA = 3
FLOORS = "floor"
"""The folder for the noise floors of a reference trace, within the folder of the trace; one folder per
dtype."""


class FloorRecord(Record):
    """Conditions under which a noise floor was measured."""

    schema_version: int = FLOOR_SCHEMA
    truth: str
    """The dtype that the truth was computed in."""
    dtype: str
    """The dtype of the samples."""
    samples: tuple[str, ...] = ()
    """Description of each sample: ``eager, alone``."""
    stages: tuple[Stage, ...] = ()
    """The stages that were measured."""
    problem: str = ""
    """The reason why the floor could not be measured; empty if it was."""


@dataclass(frozen=True)
class StageNoise:
    """Distances of the samples from the truth at one stage.

    Rows are positions; a row's entries are log-probabilities (``prefill``, ``decode``) or features
    (``vision``).
    """

    rms: np.ndarray
    """float64 [samples, rows]: root mean square over the entries of a row."""
    largest: np.ndarray
    """float64 [samples, rows]: the largest absolute difference in a row."""


@dataclass(frozen=True)
class NoiseFloor:
    """The noise floor of one case in one dtype."""

    record: FloorRecord
    stages: Mapping[Stage, StageNoise]

    @property
    def source(self) -> str:
        """Description for messages and reports."""
        record = self.record
        return f"transformers' own {record.dtype} against its {record.truth}, {len(record.samples)} runs"

    def write(self, folder: Path) -> None:
        """Write the arrays, then the record: if the record exists, the floor is complete.

        Raises:
            ValueError: the record names other stages.
        """
        if set(self.record.stages) != self.stages.keys():
            raise ValueError(f"the record names {self.record.stages}, the floor has {tuple(self.stages)}")
        arrays = {}
        for stage, noise in self.stages.items():
            arrays[f"{stage}.rms"], arrays[f"{stage}.largest"] = noise.rms, noise.largest
        write_safetensors(folder / FLOOR_FILE, arrays)
        write_record(folder / FLOOR_RECORD, self.record)


def get_floor_folder(trace_folder: Path, dtype: str) -> Path:
    """Return the folder of the noise floor of a reference trace in one dtype."""
    return trace_folder / FLOORS / dtype


def read_noise_floor(trace_folder: Path, dtype: str) -> NoiseFloor | None:
    """Read the noise floor of a reference trace; None if it was not measured.

    Raises:
        RecordError: the record or its arrays cannot be read, or a measured stage is missing.
    """
    folder = get_floor_folder(trace_folder, dtype)
    if not (folder / FLOOR_RECORD).exists():
        return None
    record = read_record(folder / FLOOR_RECORD, FloorRecord)
    try:
        arrays = load_file(folder / FLOOR_FILE)
        noise = {
            stage: StageNoise(arrays[f"{stage}.rms"], arrays[f"{stage}.largest"]) for stage in record.stages
        }
    except (SafetensorError, KeyError, OSError) as error:
        raise RecordError(f"{folder / FLOOR_FILE}: not a readable noise floor: {error!r}") from error
    return NoiseFloor(record, noise)
