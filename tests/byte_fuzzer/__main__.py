"""Fuzz the bytes of every file that the harness reads: ``python -m tests.byte_fuzzer``.

Not to be confused with the fuzzer of the harness itself (``tox -e fuzz``), which draws cases for engines.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import atheris

_INSTRUMENTED = ["vlm_parity", "yaml", "tomllib", "PIL", "safetensors"]
# Atheris prints the name of each module.
with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=_INSTRUMENTED):
    from tests.byte_fuzzer import input_targets, run_targets
    from tests.byte_fuzzer.campaign import Campaign
    from tests.byte_fuzzer.findings import REPORT, list_findings
    from tests.byte_fuzzer.oracle import Outcome, read_content
    from tests.byte_fuzzer.target import Target
    from vlm_parity.util.clock import format_timestamp

TARGETS = {target.name: target for target in (*input_targets.TARGETS, *run_targets.TARGETS)}


def main() -> int:
    """Run the command and return its exit code: 1 if there is a finding, or a target was not fuzzed."""
    parser = argparse.ArgumentParser(prog="tox -e fuzz-bytes --", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="time for all targets together (default: %(default)s)")
    add("--target", action="append", choices=sorted(TARGETS), help="repeatable (default: every target)")
    add("--workers", type=int, default=os.cpu_count(), help="processes at once (default: %(default)s)")
    add("--seed", type=int, default=1, help="seed of the first mutation (default: %(default)s)")
    add(
        "--findings",
        type=Path,
        metavar="DIR",
        help="folder for findings (default: reports/fuzz-bytes/<time>)",
    )
    add("--corpus", type=Path, metavar="DIR", help="folder for the inputs found, used again by the next run")
    add("--reproduce", type=Path, metavar="FILE", help="read one file as the target does, with its traceback")
    args = parser.parse_args()
    targets = [TARGETS[name] for name in args.target or TARGETS]
    if args.reproduce is not None:
        return _reproduce(targets, args.reproduce.read_bytes())
    findings = args.findings or Path("reports", "fuzz-bytes", format_timestamp())
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own in it
    with tempfile.TemporaryDirectory(
        prefix="fuzz-bytes-", dir=memory if memory.is_dir() else None
    ) as temporary:
        folder = args.corpus or Path(temporary)
        campaign = Campaign(
            targets, folder.resolve(), findings.resolve(), args.seconds, args.workers, args.seed
        )
        campaign.run()
        _print_figures(campaign)
    idle = [task.target.name for task in campaign.tasks if not task.inputs]
    if idle:
        print(f"not fuzzed: {', '.join(idle)}")
    return _print_findings(findings) | bool(idle)


def _reproduce(targets: list[Target], content: bytes) -> int:
    code = 0
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="fuzz-bytes-") as folder:
            target.prepare(Path(folder))
            reading = read_content(target, Path(folder), content)
        print(f"{target.name}: {reading.outcome} {reading.key}\n{reading.report}".rstrip())
        code |= reading.outcome is Outcome.FINDING
    return code


def _print_figures(campaign: Campaign) -> None:
    print("| file | inputs | sentences | results | findings | inputs a second | coverage |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for task in campaign.tasks:
        counts = [task.counts.get(outcome, 0) for outcome in Outcome]
        rate = task.inputs / task.seconds if task.seconds else 0
        cells = [task.inputs, *counts, round(rate), task.coverage]
        print(f"| {task.target.name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    totals = [sum(task.counts.get(outcome, 0) for task in campaign.tasks) for outcome in Outcome]
    inputs, seconds = sum(totals), max(sum(task.seconds for task in campaign.tasks), 1e-9)
    cells = [inputs, *totals, round(inputs / seconds), sum(task.coverage for task in campaign.tasks)]
    print(f"| all | {' | '.join(f'{cell:,}' for cell in cells)} |")


def _print_findings(folder: Path) -> int:
    findings = list_findings(folder)
    for finding in findings:
        print("\n".join((finding / REPORT).read_text(encoding="utf-8").splitlines()[:2]))
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
