"""The check itself: pytest in the Python of each engine, then one result."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.check.interpreters import find_interpreter
from vlm_parity.check.result import print_result, select_exit_code
from vlm_parity.models.model_list import ListedModel, read_model_list
from vlm_parity.models.resolve import describe_unknown_model, is_model_spec, resolve_model
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.case_selection import select_cases
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.suite_layout import CONVERSATIONS, MODEL_LIST_FILE, REGRESSIONS
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.child_process import INTERRUPT_GRACE_S, run_child
from vlm_parity.util.errors import EngineNotInstalledError, UnknownModelError, UsageError
from vlm_parity.util.exit_codes import NOT_COMPARED, SESSION_FINISHED, USAGE
from vlm_parity.util.option_paths import check_folder, check_output_folder, find_folder
from vlm_parity.util.suggestions import describe_unknown_name
from vlm_parity.util.terminal import print_text
from vlm_parity.util.writable_folder import ensure_writable_run

_QUIET = ("-p", "no:terminal", "-p", "no:cacheprovider")
"""No output of pytest: the session prints its own progress."""


def run_check(args: argparse.Namespace, timestamp: str, console: Console) -> int:
    """Check one checkpoint in every requested backend.

    Args:
        args: the arguments of ``vlm_parity.cli.check``.
        timestamp: the name of the run folder, if ``args`` has none.
        console: the terminal, for progress and the result.

    Returns:
        The exit code.

    Raises:
        UsageError: an option names something that does not exist, or a folder cannot be written.
    """
    suite: Path = args.suite or REPOSITORY_ROOT / "cases"
    run_folder: Path = args.run_folder or Path("reports") / timestamp
    _check_options(args, suite, run_folder)
    suite, run_folder = suite.resolve(), run_folder.resolve()
    try:
        if find_folder(args.model) is not None:  # a hub id is resolved in the Python of each engine
            resolve_model(args.model, weights=args.depth == Depth.LOGITS)
    except UnknownModelError as error:
        print_text(console, str(error), "red")
        return NOT_COMPARED
    pythons, absent = _find_pythons(args.backend)
    if pythons:
        ensure_writable_run(run_folder)
        ensure_writable_cache()
    for backend, python in pythons.items():
        if incomplete_reason := _run_backend(args, backend, python, suite, run_folder):
            absent[backend] = incomplete_reason
    run = publish_report(run_folder) if pythons else None
    print_result(run, Depth(args.depth), absent, console)
    return select_exit_code(run, absent)


def _check_options(args: argparse.Namespace, suite: Path, run_folder: Path) -> None:
    if args.suite is not None:
        check_folder("--suite", suite)
    elif not suite.is_dir():
        raise UsageError(f"{suite}: no such folder; run from a clone of vlm-parity, or add --suite DIR")
    check_output_folder("--run", run_folder)
    known = sorted(list_backend_targets())
    for name in args.backend:
        if name not in known:
            raise UsageError(describe_unknown_name("--backend", name, known, "no such backend"))
    model_list = _read_model_list(args, suite)
    if not is_model_spec(args.model, model_list):
        raise UsageError(f"MODEL: {describe_unknown_model(args.model, model_list)}")
    cases = load_cases(suite / CONVERSATIONS, suite / REGRESSIONS, media_roots=args.media_root)
    select_cases(cases, args.case, "--case")


def _read_model_list(args: argparse.Namespace, suite: Path) -> Mapping[str, ListedModel]:
    path = args.model_list or suite / MODEL_LIST_FILE
    if args.model_list is None and not path.exists():
        return {}
    return read_model_list(path)


def _find_pythons(requested: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the Python of each backend.

    Returns:
        The Python by backend, and the reason by backend that has none. Without requested backends, an engine
        that is not installed is only reported if no engine is.
    """
    pythons: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for backend in requested or [name for name in list_backend_targets() if name != REFERENCE_BACKEND]:
        try:
            pythons[backend] = find_interpreter(backend)
        except EngineNotInstalledError as error:
            absent[backend] = str(error)
    return pythons, absent if requested or not pythons else {}


def _run_backend(args: argparse.Namespace, backend: str, python: Path, suite: Path, run_folder: Path) -> str:
    """Run pytest on one backend.

    Returns:
        The reason why the session did not end normally; empty if it did.

    Raises:
        UsageError: an option is wrong; pytest has printed the details.
    """
    command = [str(python), "-m", "vlm_parity", "run", str(suite), *_build_options(args, backend)]
    command += ["--run", str(run_folder), "--shard", backend, "--", *_QUIET]
    code = run_child(command, grace=INTERRUPT_GRACE_S).returncode
    if code == USAGE:
        raise UsageError(f"{backend}: nothing was compared")
    return "" if code in SESSION_FINISHED else f"{backend}: its session ended with exit code {code}"


def _build_options(args: argparse.Namespace, backend: str) -> Iterator[str]:
    yield from ("--backend", backend, "--model", args.model, "--depth", args.depth)
    yield from ("--device", args.device)
    if args.dtype:
        yield from ("--dtype", args.dtype)
    if args.model_list:
        yield from ("--model-list", str(args.model_list))
    for root in args.media_root:
        yield from ("--media-root", str(root))
    for pattern in args.case:
        yield from ("--case", pattern)
    for text in args.engine_arg:
        yield from ("--engine-arg", text)
