"""Checks of a session's options, before anything is read or written for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlm_parity.backends.installation import check_installed, list_installed_backends
from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets
from vlm_parity.pytest_plugin.fuzz_options import check_fault, get_fuzz_profile, is_fuzzing_requested
from vlm_parity.pytest_plugin.option_table import format_option, get_option
from vlm_parity.pytest_plugin.selection import (
    check_environment,
    check_models,
    get_backends,
    get_requested_backends,
)
from vlm_parity.pytest_plugin.setup_options import get_setups
from vlm_parity.pytest_plugin.share_option import get_share_number
from vlm_parity.schema.run_layout import check_shard_name
from vlm_parity.schema.suite_layout import CONVERSATIONS
from vlm_parity.schema.timings import read_timings
from vlm_parity.schema.trace import RECORD_FILE
from vlm_parity.session.references import check_reference_installed
from vlm_parity.util.errors import EngineNotInstalledError, UsageError
from vlm_parity.util.option_paths import check_folder, check_output_folder
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.pytest_plugin.state import PluginState

_EXCLUSIVE = (
    ("known-issues", "no-known-issues"),
    ("rejudge", "reference-traces"),
    ("rejudge", "locate"),
)
"""Pairs of options that contradict each other."""
_TRACES = {"rejudge": ("shards/*/traces", "traces"), "reference-traces": ("traces",)}
"""The folders of traces within the folder that an option names."""


def check_options(config: pytest.Config, run: Path, shard: str) -> None:
    """Check the options that do not depend on a test module.

    Args:
        config: pytest's configuration.
        run: the run folder.
        shard: the name of the session's shard.

    Raises:
        pytest.UsageError: options contradict each other, the name of the shard is a path, the run folder
            cannot be written, or a folder to read does not exist, holds no traces, or is in the shard that
            the session replaces.
    """
    for name, other in _EXCLUSIVE:
        if get_option(config, name) and get_option(config, other):
            raise pytest.UsageError(
                f"{format_option(config, name)} and {format_option(config, other)} exclude each other"
            )
    if get_option(config, "rejudge") and is_fuzzing_requested(config):
        raise pytest.UsageError(
            f"{format_option(config, 'rejudge')} starts no engine, so it excludes the options of the fuzzer"
        )
    try:
        _check_share(config)
        target = run / "shards" / check_shard_name(shard)
        check_output_folder(format_option(config, "run"), run)
        for name, patterns in _TRACES.items():
            if (source := get_option(config, name)) is not None:
                _check_source(format_option(config, name), source, patterns)
    except UsageError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from None
    if any(_reads(get_option(config, name), target) for name in _TRACES):
        raise pytest.UsageError(
            f"{format_option(config, 'shard')} {shard}: would replace {target}, whose traces this session "
            "reads; use another name"
        )


def _check_share(config: pytest.Config) -> None:
    share, timings = format_option(config, "shard"), get_option(config, "timings")
    has_share = get_share_number(config) is not None
    if has_share and is_fuzzing_requested(config):
        raise UsageError(f"{share} N/M divides comparisons, so it excludes the options of the fuzzer")
    if timings is None:
        return
    if not has_share:
        raise UsageError(f"{format_option(config, 'timings')} needs {share} N/M")
    try:
        read_timings(timings)
    except UsageError as error:
        raise UsageError(f"{format_option(config, 'timings')} {error}") from error


def check_session(config: pytest.Config, state: PluginState) -> None:
    """Check all options of a session before it starts, then look for the engines.

    The cases are those of the folders on the command line; those of other test modules are checked when the
    modules are collected.

    Args:
        config: pytest's configuration, with the paths of the command line.
        state: gets the cases, known issues and model lists of the folders.

    Raises:
        pytest.UsageError: an option names something that does not exist. The cause is an
            ``EngineNotInstalledError`` if only an engine is missing.
    """
    check_environment(config)
    engines = [name for name in list_backend_targets() if name != REFERENCE_BACKEND]
    backends = get_requested_backends(config) or list_installed_backends() or engines
    check_options(config, state.folder.path, state.folder.shard)
    get_setups(config, backends)
    suites = _list_suites(config)
    for folder in suites:
        state.get_suite_cases(folder)
    if suites:  # other folders may have model lists of their own
        check_models(config, state.model_list)
    if is_fuzzing_requested(config):
        check_fault(config, backends)
        get_fuzz_profile(config)
    if get_option(config, "rejudge") is None and not config.option.collectonly:
        _check_engines(config)


def _list_suites(config: pytest.Config) -> list[Path]:
    """Return the folders of the test modules on the command line that have cases."""
    paths = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
    has_own_cases = get_option(config, "cases") is not None
    return [folder for folder in folders if has_own_cases or (folder / CONVERSATIONS).is_dir()]


def _check_engines(config: pytest.Config) -> None:
    try:
        check_installed(get_backends(config))
        if get_option(config, "reference-traces") is None:
            check_reference_installed()
    except EngineNotInstalledError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from error


def _check_source(option: str, folder: Path, patterns: tuple[str, ...]) -> None:
    check_folder(option, folder)
    if not any(True for pattern in patterns for _ in folder.glob(pattern)):
        raise UsageError(f"{option} {folder}: holds no traces ({' or '.join(patterns)})")


def _reads(source: Path | None, shard: Path) -> bool:
    """Return whether traces of a shard would be read: ``source`` is its run or its own folder."""
    if source is None or source.resolve() not in {shard.resolve(), shard.resolve().parents[1]}:
        return False
    return any(shard.glob(f"traces/*/*/*/{RECORD_FILE}"))
