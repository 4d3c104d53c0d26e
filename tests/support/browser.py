"""Chromium for tests of pages, and a run with enough verdicts for several pages of rows."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from tests.report.conftest import RunBuilder
from tests.support.verdicts import make_verdict
from vlm_parity.changes.comparison import Comparison, State
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.run_changes import RunChanges
from vlm_parity.report.run_comparison import compare_runs
from vlm_parity.report.summarize_run import summarize_run
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind

CHROMIUM_VARIABLE = "CHROMIUM"
HOSTILE = '</script><img src=x onerror="document.title=1">'
MODELS = ("qwen2_vl", "gemma3", "internvl")
SETUPS = (("default", "chat"), ("batched", "chat"), ("default", "token_ids"), ("default", "server"))
CAUSES = ("activation differs", "frames sampled twice", HOSTILE)
MANY = 180
"""More than two pages of rows."""


def find_chromium() -> str:
    """Return the path of Chromium: that of the environment variable, or the first on the PATH.

    Raises:
        RuntimeError: there is none; the message states the remedy.
    """
    names = (os.environ.get(CHROMIUM_VARIABLE), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError(
            "Chromium is not installed: `apt-get install chromium`, or name it in the environment variable "
            f"{CHROMIUM_VARIABLE}"
        )
    return found


def write_browser_run(folder: Path, count: int) -> Path:
    """Write a run with every kind of page, and its report with changes; return its folder.

    Args:
        folder: the run.
        count: verdicts beside those of the sample.
    """
    builder = RunBuilder(folder)
    builder.sample()
    verdicts = make_many_verdicts(count)
    if verdicts:
        builder.shard(*verdicts, name="many")
    run = load_run(folder)
    write_report(run, compare_with_clean_baseline(run))
    return folder


def compare_with_clean_baseline(run: LoadedRun) -> RunChanges:
    """Compare a run with one in which the differences of the shard ``many`` agreed."""
    summary = summarize_run(run)
    shards = tuple(
        replace(shard, comparisons=tuple(map(_remove_differences, shard.comparisons)))
        if shard.name == "many"
        else shard
        for shard in summary.shards
    )
    return RunChanges(compare_runs(replace(summary, name="baseline", shards=shards), summary, 2.0))


def _remove_differences(comparison: Comparison) -> Comparison:
    if comparison.state is not State.DIFFERS:
        return comparison
    stages = tuple(stage.model_copy(update={"status": DiffStatus.MATCH}) for stage in comparison.stages)
    return replace(comparison, kind=VerdictKind.MATCH, first_divergence=None, stages=stages)


def make_many_verdicts(count: int) -> list[Verdict]:
    """Build verdicts of several models, backends, modes, entry points, stages and causes."""
    combinations = product(range(1000), MODELS, ("vllm", "lmdeploy"), SETUPS)
    verdicts = []
    for index, (number, model, backend, (mode, entry_point)) in enumerate(islice(combinations, count)):
        differences, causes = {}, {}
        if index % 5 == 0:
            stage = (Stage.VISION, Stage.PREFILL)[index % 2]
            differences, causes = {stage: 2.0 + index}, {stage: CAUSES[index % 3]}
        verdicts.append(
            make_verdict(
                differences,
                causes=causes,
                case=f"case_{number}",
                model=model,
                backend=backend,
                mode=mode,
                entry_point=entry_point,
                margins={Stage.PREFILL: index / 1000},
            )
        )
    return verdicts
