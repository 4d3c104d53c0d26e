"""``parity selfcheck``: checks the options, runs the engines and writes the results."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from vlm_parity.backends.installation import check_installed, is_installed
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD, check_shard_name
from vlm_parity.schema.shard_folder import create_shard
from vlm_parity.selfcheck.markdown import render_markdown
from vlm_parity.selfcheck.module_faults import FAULTS as MODULE_FAULTS
from vlm_parity.selfcheck.page import print_selfcheck, write_selfcheck_page
from vlm_parity.selfcheck.record import SelfcheckRecord, merge_selfchecks
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import QUICK_MODELS, Selfcheck, SelfcheckPlan, list_engine_runs
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.errors import EngineNotInstalledError, UsageError
from vlm_parity.util.option_paths import check_folder, check_output_file, check_output_folder
from vlm_parity.util.suggestions import describe_unknown_name
from vlm_parity.util.terminal import print_text
from vlm_parity.util.writable_folder import ensure_writable_file, ensure_writable_run

CASES_FOLDER = Path("cases/conversations")
ANY_FAULT = "*"
_RUN_OPTIONS = ("backend", "model", "dtype", "fault", "quick", "shard")
"""The options without effect on a page of existing shards."""


def run_selfcheck(args: argparse.Namespace, timestamp: str, console: Console) -> bool:
    """Check the engines of this environment, or merge the shards of several environments.

    Args:
        args: the parsed options.
        timestamp: names the run folder if no option does.
        console: for progress and the result.

    Returns:
        True if the self-check passes and no required shard is missing.

    Raises:
        EngineNotInstalledError: a requested engine is not installed, or no engine is.
        UsageError: an option names something that does not exist or cannot be written.
    """
    run = args.run_folder or Path("reports") / f"{timestamp}-selfcheck"
    _check_output_options(args, run)
    plans, cases = ([], {}) if args.report_only else (_build_plans(args), _load_cases())
    if args.markdown is not None:
        ensure_writable_file(args.markdown, "--markdown")
    own: SelfcheckRecord | None = None
    if plans:
        ensure_writable_run(run)
        ensure_writable_cache()
        with create_shard(run / "shards" / _get_shard_name(args, plans)) as shard:
            own = _run_backends(plans, cases, shard.folder, console)
    missing = [name for name in args.require_shard if not (run / "shards" / name / SELFCHECK_RECORD).exists()]
    passes = _write_results(args, run, console)
    for shard in missing:
        print_text(console, f"shard {shard} is missing: its environment wrote nothing", "red")
    return (passes if own is None else own.passes) and not missing


def _check_output_options(args: argparse.Namespace, run: Path) -> None:
    for shard in args.require_shard:
        check_shard_name(shard)
    if args.shard is not None:
        check_shard_name(args.shard)
    check_output_folder("--run", run)
    if args.markdown is not None:
        check_output_file("--markdown", args.markdown)
    if args.report_only:
        _check_report_only(args, run)


def _check_report_only(args: argparse.Namespace, run: Path) -> None:
    for name in _RUN_OPTIONS:
        if getattr(args, name) not in (None, False, [], ANY_FAULT):
            raise UsageError(f"--report-only starts no engine: --{name} has no effect")
    if args.require_shard:
        return  # they report a run that nothing has written
    if args.run_folder is None:
        raise UsageError("--report-only: name the run folder of the self-check by --run")
    check_folder("--run", run)
    if not _holds_selfcheck(run):
        raise UsageError(f"--run {run}: holds no self-check (shards/NAME/{SELFCHECK_RECORD})")


def _holds_selfcheck(run: Path) -> bool:
    return any(run.glob(f"shards/*/{SELFCHECK_RECORD}"))


def _write_results(args: argparse.Namespace, run: Path, console: Console) -> bool:
    """Write the page and the tables, and return whether the self-check passes."""
    if not _holds_selfcheck(run):
        return False
    record = write_selfcheck_page(run)
    print_selfcheck(record, run, console)
    if args.markdown is not None:
        write_atomically(args.markdown, render_markdown(record).encode())
    return record.passes


def _get_shard_name(args: argparse.Namespace, plans: list[SelfcheckPlan]) -> str:
    return check_shard_name(args.shard or "+".join(plan.backend for plan in plans))


def _load_cases() -> dict[str, Case]:
    if not CASES_FOLDER.is_dir():
        raise UsageError(f"{CASES_FOLDER}: no such folder; run the self-check from a clone of vlm-parity")
    return load_cases(CASES_FOLDER)


def _run_backends(
    plans: list[SelfcheckPlan], cases: dict[str, Case], shard: Path, console: Console
) -> SelfcheckRecord:
    """Run the self-check of this environment and return its results.

    All engine loads are planned before the first, so a session that is cut off at any time is incomplete.
    """
    reporter = ProgressReporter(console, nullcontext)
    checks = [Selfcheck(plan, cases, shard, reporter).run() for plan in plans]
    records = [next(check) for check in checks]
    write_record(shard / SELFCHECK_RECORD, merge_selfchecks(records))
    for index, check in enumerate(checks):
        for record in check:
            records[index] = record
            write_record(shard / SELFCHECK_RECORD, merge_selfchecks(records))
    return merge_selfchecks(records)


def _build_plans(args: argparse.Namespace) -> list[SelfcheckPlan]:
    """Return the plan of each backend; options are checked before the engines are looked up."""
    supported = list(dict.fromkeys(backend for fault in FAULTS for backend in fault.injectors))
    _check_selection(args, supported)
    plans = [
        SelfcheckPlan(
            backend=backend,
            dtypes=tuple(args.dtype) or (("float32",) if args.quick else ("float32", "bfloat16")),
            models=tuple(args.model) or (QUICK_MODELS if args.quick else ()),
            pattern=args.fault,
            modes=not args.quick,
            device=args.device,
        )
        for backend in dict.fromkeys(args.backend or supported)
    ]
    if not any(any(list_engine_runs(plan)) for plan in plans):
        targets = " or ".join([*(args.backend or supported), *args.model])
        raise UsageError(
            f"--fault {args.fault}: no fault of {targets} matches; the families and the mode of each are in "
            "harness/vlm_parity/selfcheck/"
        )
    if args.backend:
        check_installed(args.backend)
        return plans
    installed = [plan for plan in plans if is_installed(plan.backend)]
    if not installed:
        raise EngineNotInstalledError(
            f"none of these engines is installed in this environment: {', '.join(supported)}; run "
            "`tox -e selfcheck`, which uses the environments of both"
        )
    return installed


def _check_selection(args: argparse.Namespace, supported: list[str]) -> None:
    for name in args.backend:
        if name not in supported:
            problem = "no fault is defined for it"
            raise UsageError(describe_unknown_name("--backend", name, supported, problem))
    for model in args.model:
        if model not in FAMILIES:
            raise UsageError(describe_unknown_name("--model", model, FAMILIES, "no such family"))
    names = [*(fault.name for fault in FAULTS), *(fault.name for fault in MODULE_FAULTS)]
    if not any(fnmatchcase(name, args.fault) for name in names):
        problem = "matches none of the faults"
        raise UsageError(describe_unknown_name("--fault", args.fault, names, problem, one_per_line=True))
