"""``parity selfcheck``: checks the options, runs the engines and writes the results."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD, check_shard_name, create_shard
from vlm_parity.selfcheck.markdown import render_markdown
from vlm_parity.selfcheck.page import print_selfcheck, write_selfcheck_page
from vlm_parity.selfcheck.record import SelfcheckRecord, merge_selfchecks
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import QUICK_MODELS, Selfcheck, SelfcheckPlan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.errors import UsageError
from vlm_parity.util.terminal import print_text
from vlm_parity.util.writable_folder import ensure_writable_file, ensure_writable_run

CASES_FOLDER = Path("cases/conversations")


def run_selfcheck(args: argparse.Namespace, timestamp: str, console: Console) -> bool:
    """Check the engines of this environment, or merge the shards of several environments.

    Args:
        args: the parsed options.
        timestamp: names the run folder if no option does.
        console: for progress and the result.

    Returns:
        True if the self-check passes and no required shard is missing.

    Raises:
        UsageError: an option names something that does not exist or cannot be written.
    """
    run = args.run_folder or Path("reports") / f"{timestamp}-selfcheck"
    if args.markdown is not None:
        ensure_writable_file(args.markdown, "--markdown")
    if not args.report_only:
        _run_backends(args, run, console)
    missing = [
        shard for shard in args.require_shard if not (run / "shards" / shard / SELFCHECK_RECORD).exists()
    ]
    if not any(run.glob(f"shards/*/{SELFCHECK_RECORD}")):
        raise UsageError(f"{run}: holds no self-check")
    record = write_selfcheck_page(run)
    print_selfcheck(record, run, console)
    if args.markdown is not None:
        write_atomically(args.markdown, render_markdown(record).encode())
    for shard in missing:
        print_text(console, f"shard {shard} is missing: its environment wrote nothing", "red")
    return record.passes and not missing


def _run_backends(args: argparse.Namespace, run: Path, console: Console) -> None:
    backends = _select_backends(args.backend)
    if not CASES_FOLDER.is_dir():
        raise UsageError(f"{CASES_FOLDER}: no such folder; run the self-check from a clone of vlm-parity")
    unknown = [model for model in args.model if model not in FAMILIES]
    if unknown:
        raise UsageError(f"--model {unknown[0]}: no such family; available: {', '.join(FAMILIES)}")
    if not any(fnmatchcase(fault.name, args.fault) for fault in FAULTS):
        names = "\n".join(f"  {fault.name}" for fault in FAULTS)
        raise UsageError(f"--fault {args.fault}: matches none of:\n{names}")
    ensure_writable_run(run)
    ensure_writable_cache()
    shard = run / "shards" / check_shard_name(args.shard or "+".join(backends))
    create_shard(shard)
    cases = load_cases(CASES_FOLDER)
    finished: list[SelfcheckRecord] = []
    for backend in backends:
        plan = SelfcheckPlan(
            backend=backend,
            dtypes=tuple(args.dtype) or (("float32",) if args.quick else ("float32", "bfloat16")),
            models=tuple(args.model) or (QUICK_MODELS if args.quick else ()),
            pattern=args.fault,
            modes=not args.quick,
            device=args.device,
        )
        for record in Selfcheck(plan, cases, shard, ProgressReporter(console, nullcontext)).run():
            write_record(shard / SELFCHECK_RECORD, merge_selfchecks([*finished, record]))
        finished.append(record)


def _select_backends(names: list[str]) -> list[str]:
    supported = list(dict.fromkeys(backend for fault in FAULTS for backend in fault.injectors))
    for name in names:
        if name not in supported:
            raise UsageError(
                f"--backend {name}: no fault is defined for it; available: {', '.join(supported)}"
            )
    installed = names or [name for name in supported if find_spec(load_backend_class(name).engine)]
    if not installed:
        raise UsageError(f"none of these engines is installed in this environment: {', '.join(supported)}")
    return installed
