"""``parity selfcheck``: its options, and what is written when."""

from __future__ import annotations

import argparse
import shutil
from contextlib import nullcontext
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.selfcheck.markdown import render_markdown
from vlm_parity.selfcheck.page import print_selfcheck, write_selfcheck_page
from vlm_parity.selfcheck.record import SELFCHECK_FILE, SelfcheckRecord, merge_selfchecks
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import QUICK_MODELS, Selfcheck, SelfcheckPlan
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.util.errors import UsageError

CASES_FOLDER = Path("cases/conversations")


def run_selfcheck(chosen: argparse.Namespace, now: str, console: Console) -> bool:
    """Checks the engines of this environment, or joins what several environments wrote.

    Returns:
        Whether all of it passes.

    Raises:
        UsageError: an option names something that is not there.
    """
    run = chosen.run_folder or Path("reports") / f"{now}-selfcheck"
    if not chosen.report_only:
        _run_backends(chosen, run, console)
    missing = [part for part in chosen.expect if not (run / "shards" / part / SELFCHECK_FILE).exists()]
    if not any(run.glob(f"shards/*/{SELFCHECK_FILE}")):
        raise UsageError(f"{run}: holds no self-check")
    found = write_selfcheck_page(run)
    print_selfcheck(found, run, console)
    if chosen.markdown is not None:
        write_atomically(chosen.markdown, render_markdown(found).encode())
    for part in missing:
        console.print(f"part {part} is missing: its environment wrote nothing", style="red", highlight=False)
    return found.passes and not missing


def _run_backends(chosen: argparse.Namespace, run: Path, console: Console) -> None:
    backends = _get_backends(chosen.backend)
    if not CASES_FOLDER.is_dir():
        raise UsageError(f"{CASES_FOLDER}: is not there; run it from a clone of vlm-parity")
    unknown = [model for model in chosen.model if model not in FAMILIES]
    if unknown:
        raise UsageError(f"--model {unknown[0]}: there is no such family; there are: {', '.join(FAMILIES)}")
    if not any(fnmatchcase(fault.name, chosen.fault) for fault in FAULTS):
        names = "\n".join(f"  {fault.name}" for fault in FAULTS)
        raise UsageError(f"--fault {chosen.fault}: fits none of:\n{names}")
    part = run / "shards" / (chosen.shard or "+".join(backends))
    if part.exists():
        shutil.rmtree(part)
    cases = load_cases(CASES_FOLDER)
    done: list[SelfcheckRecord] = []
    for backend in backends:
        scope = SelfcheckPlan(
            backend=backend,
            dtypes=tuple(chosen.dtype) or (("float32",) if chosen.quick else ("float32", "bfloat16")),
            models=tuple(chosen.model) or (QUICK_MODELS if chosen.quick else ()),
            pattern=chosen.fault,
            modes=not chosen.quick,
            device=chosen.device,
        )
        for so_far in Selfcheck(scope, cases, part, ProgressReporter(console, nullcontext)).run():
            write_record(part / SELFCHECK_FILE, merge_selfchecks([*done, so_far]))
        done.append(so_far)


def _get_backends(named: list[str]) -> list[str]:
    able = list(dict.fromkeys(backend for fault in FAULTS for backend in fault.injectors))
    for name in named:
        if name not in able:
            raise UsageError(
                f"--backend {name}: no fault is known for it; there are some for: {', '.join(able)}"
            )
    found = named or [name for name in able if find_spec(load_backend_class(name).engine)]
    if not found:
        raise UsageError(f"none of these engines is installed in this environment: {', '.join(able)}")
    return found
