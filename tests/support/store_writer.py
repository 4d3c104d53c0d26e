"""A process that imports runs into a store: ``python -m tests.support.store_writer LOCATION NUMBER COUNT``.

It prints a line for each import that has ended.
"""

from __future__ import annotations

import sys

from tests.support.comparisons import make_run
from tests.support.verdicts import make_shard_summary, make_verdict
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.store.import_run import import_run
from vlm_parity.store.location import open_store

COMPARISONS = 40


def build_run(writer: int, number: int) -> RunSummary:
    """Build a run of one writer: a shard of its own, and one that all writers import."""
    own = tuple(make_verdict(case=f"case_{index}") for index in range(COMPARISONS))
    shards = [
        make_shard_summary(*own, name="own", session=f"{writer} {number}"),
        make_shard_summary(*own, name="lmdeploy", session=f"{writer} {number} lmdeploy"),
    ]
    return make_run(*shards, name=f"run_{writer}_{number}")


def build_common_run(number: int) -> RunSummary:
    """Build a run that every writer imports."""
    verdicts = tuple(make_verdict(case=f"common_{index}") for index in range(COMPARISONS))
    return make_run(make_shard_summary(*verdicts, session=f"common {number}"), name=f"common_{number}")


def main(location: str, writer: int, count: int) -> None:
    """Import the runs of a writer."""
    store = open_store(location, sys.exit, create=True)
    for number in range(count):
        import_run(store, build_run(writer, number))
        import_run(store, build_common_run(number))
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
