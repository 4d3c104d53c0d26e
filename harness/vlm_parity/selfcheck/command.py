"""``parity selfcheck``: its options, and what is written when."""

from __future__ import annotations

import argparse
import shutil
from contextlib import nullcontext
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from vlm_parity.backends.registry import backend_class
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.selfcheck.markdown import markdown
from vlm_parity.selfcheck.page import print_check, write_check
from vlm_parity.selfcheck.record import SELFCHECK_FILE, SelfCheck, joined
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import QUICK_MODELS, Check, Scope
from vlm_parity.session.progress import Reporter
from vlm_parity.util.errors import UsageError

CASES = Path("cases/conversations")


def selfcheck(chosen: argparse.Namespace, now: str, console: Console) -> bool:
    """Checks the engines of this environment, or joins what several environments wrote.

    Returns:
        Whether all of it passes.

    Raises:
        UsageError: an option names something that is not there.
    """
    run = chosen.run_folder or Path("reports") / f"{now}-selfcheck"
    if not chosen.report_only:
        _check(chosen, run, console)
    missing = [part for part in chosen.expect if not (run / "parts" / part / SELFCHECK_FILE).exists()]
    if not any(run.glob(f"parts/*/{SELFCHECK_FILE}")):
        raise UsageError(f"{run}: holds no self-check")
    found = write_check(run)
    print_check(found, run, console)
    if chosen.markdown is not None:
        write_atomically(chosen.markdown, markdown(found).encode())
    for part in missing:
        console.print(f"part {part} is missing: its environment wrote nothing", style="red", highlight=False)
    return found.passes and not missing


def _check(chosen: argparse.Namespace, run: Path, console: Console) -> None:
    backends = _backends(chosen.backend)
    if not CASES.is_dir():
        raise UsageError(f"{CASES}: is not there; run it from a clone of vlm-parity")
    unknown = [model for model in chosen.model if model not in FAMILIES]
    if unknown:
        raise UsageError(f"--model {unknown[0]}: there is no such family; there are: {', '.join(FAMILIES)}")
    if not any(fnmatchcase(fault.name, chosen.fault) for fault in FAULTS):
        names = "\n".join(f"  {fault.name}" for fault in FAULTS)
        raise UsageError(f"--fault {chosen.fault}: fits none of:\n{names}")
    part = run / "parts" / (chosen.shard or "+".join(backends))
    if part.exists():
        shutil.rmtree(part)
    cases = load_cases(CASES)
    done: list[SelfCheck] = []
    for backend in backends:
        scope = Scope(
            backend=backend,
            dtypes=tuple(chosen.dtype) or (("float32",) if chosen.quick else ("float32", "bfloat16")),
            models=tuple(chosen.model) or (QUICK_MODELS if chosen.quick else ()),
            pattern=chosen.fault,
            modes=not chosen.quick,
            device=chosen.device,
        )
        for so_far in Check(scope, cases, part, Reporter(console, nullcontext)).run():
            write_record(part / SELFCHECK_FILE, joined([*done, so_far]))
        done.append(so_far)


def _backends(named: list[str]) -> list[str]:
    able = list(dict.fromkeys(backend for fault in FAULTS for backend in fault.planters))
    for name in named:
        if name not in able:
            raise UsageError(
                f"--backend {name}: no fault is known for it; there are some for: {', '.join(able)}"
            )
    found = named or [name for name in able if find_spec(backend_class(name).engine)]
    if not found:
        raise UsageError(f"none of these engines is installed in this environment: {', '.join(able)}")
    return found
