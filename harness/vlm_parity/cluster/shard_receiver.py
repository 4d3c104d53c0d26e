"""Shards of a run on a cluster: reserved at its start, received in any order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.cluster.load_plan import ClusterLoad
from vlm_parity.cluster.load_session import LoadResult
from vlm_parity.cluster.shard_archive import unpack_shard
from vlm_parity.schema.record import read_record, write_atomically, write_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.shard_folder import ShardHold, create_shard
from vlm_parity.util.clock import format_record_time
from vlm_parity.util.errors import RecordError

OUTPUT_FILE = "logs/session.log"
"""The end of the output of a load's session, in its shard."""


class ShardReceiver:
    """The folders of the shards of all planned loads, exactly one for each."""

    def __init__(self, run: Path, loads: Iterable[ClusterLoad], command: str) -> None:
        """Reserve the shard of every load: until its result is received, the report shows it as running.

        Args:
            run: the run folder.
            loads: the planned loads.
            command: the command line, for the record of a load without a shard.

        Raises:
            UsageError: a folder is no shard, or another session uses it.
        """
        self._folder, self._command = run / "shards", command
        self._started = format_record_time(datetime.now(UTC))
        self._holds: dict[ClusterLoad, ShardHold] = {}
        try:
            for load in loads:
                self._holds[load] = create_shard(self._folder / load.name)
        except BaseException:
            self.release()
            raise

    def receive(self, load: ClusterLoad, result: LoadResult) -> None:
        """Write the shard of a load, in place of what an earlier result of it has written."""
        with self._hold(load) as hold:
            reason = result.failure
            try:
                if not unpack_shard(result.archive, hold.folder):
                    reason = reason or "its session wrote no shard"
                else:
                    reason = reason or _find_missing(load, hold.folder)
            except RecordError as error:
                hold.clear()
                reason = str(error)
            write_atomically(hold.folder / OUTPUT_FILE, result.output)
            if reason:
                self._add_failure(load, hold.folder, reason)

    def fail(self, load: ClusterLoad, reason: str) -> None:
        """Write a shard without verdicts that states why a load has no result."""
        with self._hold(load) as hold:
            self._add_failure(load, hold.folder, reason)

    def release(self) -> None:
        """Let other sessions use the shards that were not received."""
        for hold in self._holds.values():
            hold.release()
        self._holds.clear()

    def _hold(self, load: ClusterLoad) -> ShardHold:
        hold = self._holds.pop(load, None)
        if hold is None:  # a second result
            return create_shard(self._folder / load.name)
        hold.clear()
        return hold

    def _add_failure(self, load: ClusterLoad, folder: Path, reason: str) -> None:
        try:
            record = read_record(folder / SHARD_RECORD, Shard)
        except RecordError:  # the session wrote none, or it was cut off
            record = self._build_empty_shard(load)
        failures = {**record.failures, load.title: reason}
        write_record(folder / SHARD_RECORD, record.model_copy(update={"failures": failures}))

    def _build_empty_shard(self, load: ClusterLoad) -> Shard:
        return Shard(
            name=load.name,
            started=self._started,
            finished=format_record_time(datetime.now(UTC)),
            command=self._command,
            backends=(load.engine.backend,),
            cases={},
            models={},
            expected=load.verdicts,
        )


def _find_missing(load: ClusterLoad, folder: Path) -> str:
    """Return how a session fell short of the plan: on another node it may find fewer cases; empty if not."""
    expected = read_record(folder / SHARD_RECORD, Shard).expected
    if expected >= load.verdicts:
        return ""
    return f"its session compared {expected} of {load.verdicts} planned comparisons"
