"""Recorded seconds of engine loads, by which later sessions divide them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from vlm_parity.schema.record import Record, Seconds, read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import REFERENCE_FOLDER, SHARD_RECORD
from vlm_parity.util.errors import RecordError, UsageError

_PHASES = frozenset({"load", "capture", "process"})


class Timings(Record):
    """Seconds of each engine load of a run."""

    schema_version: int = 1
    seconds: dict[str, Seconds]
    """By ``<model>/<engine>``."""


def collect_timings(shards: Iterable[Shard]) -> Timings:
    """Return the seconds of each engine load; of one that several shards hold, the largest."""
    seconds: dict[str, float] = {}
    for shard in shards:
        for load, value in _sum_phases(shard).items():
            seconds[load] = max(value, seconds.get(load, 0.0))
    return Timings(seconds={load: round(seconds[load], 1) for load in sorted(seconds)})


def read_timings(path: Path) -> Timings:
    """Read timings from a run folder, or from the file that ``parity report --timings`` writes.

    Raises:
        UsageError: there is no such run or file, or it is not readable.
    """
    try:
        if not path.is_dir():
            return read_record(path, Timings)
        records = sorted(path.glob(f"shards/*/{SHARD_RECORD}"))
        if not records:
            raise UsageError(f"{path}: holds no shard (shards/NAME), so it has no timings")
        return collect_timings(read_record(record, Shard) for record in records)
    except RecordError as error:
        raise UsageError(str(error)) from error


def _sum_phases(shard: Shard) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for account, value in shard.seconds.items():
        load, _, phase = account.rpartition("/")
        if phase in _PHASES and load.rpartition("/")[2] != REFERENCE_FOLDER:
            seconds[load] += value
    return seconds
