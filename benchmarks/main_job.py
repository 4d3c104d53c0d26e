"""The wall time of sessions against what their engines took to load and to answer.

Usage: ``python benchmarks/main_job.py RUN``, with the folder of a run. It starts no engine: every
part of the run has noted its times.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from aim import print_aim

from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard

AIM = 1.3
"""The most that a session may take, in the time of its engines; transformers is one of them."""
ENGINES = ("load", "capture")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    run = parser.parse_args().run
    parts = [read_record(path, Shard) for path in sorted(run.glob("shards/*/shard.json"))]
    for shard in parts:
        _print_part(shard)
    if not parts:
        print(f"{run}: no part of a run lies here")


def _print_part(shard: Shard) -> None:
    wall, spent = _wall(shard), _by_kind(shard)
    engines = sum(spent[kind] for kind in ENGINES)
    if wall is None or not engines:
        print(f"{shard.name}: {'was cut off' if wall is None else 'started no engine'}: nothing to say")
        return
    spent["all else"] = wall - sum(spent.values())
    print(f"{shard.name}: {wall:.1f} s: " + ", ".join(f"{kind} {took:.1f}" for kind, took in spent.items()))
    print_aim("session / its engines", [wall / engines], AIM, "most")


def _wall(shard: Shard) -> float | None:
    """Seconds from the first engine's start to the last verdict."""
    if shard.finished is None:
        return None
    return (datetime.fromisoformat(shard.finished) - datetime.fromisoformat(shard.started)).total_seconds()


def _by_kind(shard: Shard) -> dict[str, float]:
    """Seconds by the last word of their name: ``load``, ``capture``, ``diff``."""
    spent: dict[str, float] = defaultdict(float)
    for name, seconds in shard.seconds.items():
        spent[name.rpartition("/")[-1]] += seconds
    return spent


if __name__ == "__main__":
    main()
