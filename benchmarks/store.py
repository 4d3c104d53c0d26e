"""Times of the run store: imports of runs, and the queries of a baseline and of a trend.

python benchmarks/store.py                                   an SQLite file in a temporary folder
python benchmarks/store.py postgresql://postgres@/name       an empty database
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vlm_parity.changes.comparison import Cause, Comparison, Identity
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.schema.engine_setup import Depth, EntryPoint
from vlm_parity.schema.trace import Environment, Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, StageResult, VerdictKind
from vlm_parity.store.baseline import LAST, find_baseline, find_last
from vlm_parity.store.database import Store
from vlm_parity.store.history import list_history
from vlm_parity.store.import_run import import_run
from vlm_parity.store.location import open_store
from vlm_parity.store.read_runs import list_runs, read_run

RUNS, CASES = 100, 300
LARGE_RUN = 6_000
REPEATS = 20
START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITED = {Stage.VISION, Stage.PREFILL, Stage.DECODE}


def build_comparison(case: int, day: int) -> Comparison:
    """Build a comparison with all stages; every tenth differs."""
    differs = case % 10 == 0
    packages = {f"package_{number}": f"1.{number}.{day // 30}" for number in range(30)}
    environment = Environment(
        python="3.11.9", platform="Linux", device="cpu", dtype="float32", packages=packages
    )
    return Comparison(
        identity=Identity(
            model=f"model_{case % 20}", backend="vllm", mode="default", entry_point=EntryPoint.CHAT,
            case=f"case_{case}", dtype="float32", device="cpu", depth=Depth.LOGITS, checkpoint="c" * 64,
            case_digest=f"{case:064}",
        ),
        kind=VerdictKind.KNOWN if differs else VerdictKind.MATCH,
        reason="The vision features differ by 50 times their limit." if differs else "",
        first_divergence=Stage.VISION if differs else None,
        known="activation: https://example.org/1" if differs else "",
        reproduce=f"parity run --backend vllm --model model_{case % 20} --case case_{case}",
        stages=tuple(build_result(stage, differs, case + day) for stage in Stage),
        reference_outcome=Outcome.CAPTURED,
        reference_environment=environment,
        environment=environment,
        causes=(Cause(stage=Stage.VISION, name="activation differs", confidence=0.9),) if differs else (),
        seconds={"process": 0.25, "forced": 0.5, "free": 0.125},
    )  # fmt: skip


def build_result(stage: Stage, differs: bool, number: int) -> StageResult:
    """Build the result of a stage; those of logits have numbers that change from run to run."""
    is_other = differs and stage is Stage.VISION
    names = ("limit_ratio", "rms", "max_abs", "kl", "rows") if stage in LIMITED else ("compared",)
    return StageResult(
        stage=stage,
        status=DiffStatus.MISMATCH if is_other else DiffStatus.MATCH,
        metrics=dict.fromkeys(names, number % 97 / 128 + is_other * 50),
    )


def build_run(day: int, cases: int) -> RunSummary:
    """Build a run of one day."""
    started = START + timedelta(days=day)
    shard = ShardSummary(
        name="vllm",
        session=f"{day}",
        started=started.isoformat(timespec="milliseconds"),
        finished=(started + timedelta(minutes=5)).isoformat(timespec="milliseconds"),
        backends=("vllm",),
        comparisons=tuple(build_comparison(case, day) for case in range(cases)),
        seconds={"model_1/vllm/load": 30.0},
    )
    return RunSummary(f"{started:%Y%m%d-%H%M%S}", "benchmark", (shard,))


def measure(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the fewest milliseconds that an action takes: other processes only add to them."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def measure_store(store: Store) -> None:
    """Fill a store and print the times."""
    runs = [build_run(day, CASES) for day in range(RUNS)]
    latest = build_run(RUNS, CASES)
    identity = latest.comparisons[0].identity
    for name in ("import", "import again, nothing changed"):
        milliseconds = measure(lambda: [import_run(store, run) for run in runs], 1)
        print_time(f"{name}: {RUNS} runs of {CASES} verdicts", milliseconds)
    print_time("list of the runs", measure(lambda: list_runs(store)))
    print_time("history of a comparison", measure(lambda: list_history(store, identity)))
    print_time(
        f"selection of last, {CASES} verdicts", measure(lambda: find_last(store, latest, must_pass=False))
    )
    print_time(f"baseline last, {CASES} verdicts", measure(lambda: find_baseline(store, LAST, latest)))
    import_run(store, build_run(RUNS + 1, LARGE_RUN))
    key = list_runs(store)[0].key
    print_time(f"results of a run of {LARGE_RUN} verdicts", measure(lambda: read_run(store, key), 7))


def print_time(name: str, milliseconds: float) -> None:
    """Print a line of the result."""
    print(f"{name:55} {milliseconds:10,.1f} ms")


def main() -> None:
    """Measure one store."""
    with tempfile.TemporaryDirectory() as folder:
        location = sys.argv[1] if sys.argv[1:] else str(Path(folder, "store.sqlite"))
        store = open_store(location, print, create=True)
        measure_store(store)
        if not sys.argv[1:]:
            print(f"{'size of the file':55} {Path(location).stat().st_size / 1e6:10,.1f} MB")
        store.engine.dispose()


if __name__ == "__main__":
    main()
