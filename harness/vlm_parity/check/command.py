"""What ``parity check`` does: pytest in the Python of each engine, then one result."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.check.interpreters import find_interpreter
from vlm_parity.check.result import print_result, select_exit_code
from vlm_parity.models.model_list import LIST_FILE, ListedModel, read_model_list
from vlm_parity.models.resolve import describe_unknown_model, is_model_spec, resolve_model
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.trace import Depth
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import EngineNotInstalledError, ModelListError, UnknownModelError, UsageError
from vlm_parity.util.exit_codes import NOT_COMPARED, SESSION_FINISHED, USAGE

_QUIET = ("-p", "no:terminal", "-p", "no:cacheprovider")
"""pytest shows nothing: the session's own progress is what there is to see."""


def run_check(chosen: argparse.Namespace, now: str, console: Console) -> int:
    """Checks one checkpoint in every backend that is asked for.

    Args:
        chosen: as ``vlm_parity.cli.check_options`` has them.
        now: names the run folder if none is named.
        console: where progress and the result go.

    Returns:
        The exit code.

    Raises:
        UsageError: an option names something that is not there.
    """
    suite = (chosen.suite or REPOSITORY_ROOT / "cases").resolve()
    _check_options(chosen, suite)
    try:
        if Path(chosen.model).expanduser().is_dir():  # what the hub has, the engines' own Python asks for
            resolve_model(chosen.model, weights=chosen.depth == Depth.LOGITS)
    except UnknownModelError as problem:
        console.print(escape(str(problem)), style="red", highlight=False, soft_wrap=True)
        return NOT_COMPARED
    pythons, absent = _find_pythons(chosen.backend)
    run = (chosen.run_folder or Path("reports") / now).resolve()
    for backend, python in pythons.items():
        if incomplete_reason := _run_backend(chosen, backend, python, suite, run):
            absent[backend] = incomplete_reason
    compared = publish_report(run) if pythons else None
    print_result(compared, Depth(chosen.depth), absent, console)
    return select_exit_code(compared, absent)


def _check_options(chosen: argparse.Namespace, suite: Path) -> None:
    if not suite.is_dir():
        raise UsageError(f"{suite}: no such folder; run from a checkout of vlm-parity, or add --suite DIR")
    known = list_backend_targets()
    for name in chosen.backend:
        if name not in known:
            raise UsageError(
                f"--backend {name}: there is no such backend; there are: {', '.join(sorted(known))}"
            )
    listed = _model_list(chosen, suite)
    if not is_model_spec(chosen.model, listed):
        raise UsageError(describe_unknown_model(chosen.model, listed))


def _model_list(chosen: argparse.Namespace, suite: Path) -> Mapping[str, ListedModel]:
    path = chosen.model_list or suite / LIST_FILE
    if chosen.model_list is None and not path.exists():
        return {}
    try:
        return read_model_list(path)
    except ModelListError as problem:
        raise UsageError(str(problem)) from None


def _find_pythons(named: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The Python of each backend, and why others have none; of those that nobody named, only where no
    backend has one.
    """
    pythons: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for backend in named or [name for name in list_backend_targets() if name != REFERENCE_BACKEND]:
        try:
            pythons[backend] = find_interpreter(backend)
        except EngineNotInstalledError as problem:
            absent[backend] = str(problem)
    return pythons, absent if named or not pythons else {}


def _run_backend(chosen: argparse.Namespace, backend: str, python: Path, suite: Path, run: Path) -> str:
    """Runs pytest on one backend; returns why it did not come to its end, if so.

    Raises:
        UsageError: pytest was told of something that is not there; it has said what.
    """
    command = [str(python), "-m", "vlm_parity", "run", str(suite), *_build_options(chosen, backend)]
    command += ["--run", str(run), "--shard", backend, "--", *_QUIET]
    code = subprocess.run(command, check=False).returncode
    if code == USAGE:
        raise UsageError(f"{backend}: nothing was compared")
    return "" if code in SESSION_FINISHED else f"{backend}: its session ended with exit status {code}"


def _build_options(chosen: argparse.Namespace, backend: str) -> Iterator[str]:
    yield from ("--backend", backend, "--model", chosen.model, "--depth", chosen.depth)
    yield from ("--device", chosen.device)
    if chosen.dtype:
        yield from ("--dtype", chosen.dtype)
    if chosen.model_list:
        yield from ("--model-list", str(chosen.model_list))
    for pattern in chosen.case:
        yield from ("--case", pattern)
    for text in chosen.engine_arg:
        yield from ("--engine-arg", text)
