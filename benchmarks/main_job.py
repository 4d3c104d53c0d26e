"""Wall time of the sessions of a run, against the load, capture and noise floor time of their engines.

  python benchmarks/main_job.py .tox/run

Nothing runs: every shard of the run holds its times.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from target import USAGE, build_parser, check_target, get_exit_code

from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard

TARGET = 1.3
"""The most that a session may take, relative to its engines; transformers is one, with its noise floors."""
ENGINES = ("load", "capture", "floor")


def main() -> int:
    """Print the times of each shard and return the exit code."""
    parser = build_parser(str(__doc__))
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    run = parser.parse_args().run
    shards = [read_record(path, Shard) for path in sorted(run.glob("shards/*/shard.json"))]
    if not shards:
        print(f"{run}: holds no shard (shards/*/shard.json)", file=sys.stderr)
        return USAGE
    targets = [is_met for shard in shards for is_met in _check_shard(shard)]
    return get_exit_code(targets) if targets else USAGE


def _check_shard(shard: Shard) -> list[bool]:
    """Print the times of a shard; return its result, or nothing if the shard has no target."""
    by_kind = _sum_by_kind(shard)
    wall, engines = sum(by_kind.values()), sum(by_kind[kind] for kind in ENGINES)
    if shard.finished is None or not engines:
        reason = "its session was interrupted" if shard.finished is None else "it started no engine"
        print(f"{shard.name}: skipped: {reason}")
        return []
    times = ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in by_kind.items())
    print(f"{shard.name}: {wall:.1f} s: {times}")
    return [check_target("session / its engines", [wall / engines], TARGET, "most")]


def _sum_by_kind(shard: Shard) -> dict[str, float]:
    """Sum the seconds by the last word of their name: ``load``, ``capture``, ``diff``."""
    by_kind: dict[str, float] = defaultdict(float)
    for name, seconds in shard.seconds.items():
        by_kind[name.rpartition("/")[-1]] += seconds
    return by_kind


if __name__ == "__main__":
    sys.exit(main())
