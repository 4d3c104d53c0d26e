"""Engine loads that a session would run, as pytest collects them; none of them runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vlm_parity.models.model_list import ListedModel
from vlm_parity.pytest_plugin import plugin
from vlm_parity.pytest_plugin.fuzz_options import is_fuzzing_requested
from vlm_parity.pytest_plugin.option_table import format_option, get_option
from vlm_parity.pytest_plugin.run_pytest import ParityRun
from vlm_parity.pytest_plugin.state import get_state
from vlm_parity.session.plan import EngineLoad
from vlm_parity.util.errors import UsageError

_COLLECT = ("--collect-only", "-p", "no:terminal", "-p", "no:cacheprovider")
_EXCLUDED = {
    "rejudge": "starts no engine",
    "shard": "would name the shards of all loads, which have the names of the loads",
}
"""Options that make no sense for several sessions, with the reason."""


@dataclass(frozen=True)
class CollectedLoads:
    """The engine loads of a session."""

    cases: Mapping[EngineLoad, int] = field(default_factory=dict)
    """Number of cases by model, backend, mode and entry point."""
    model_list: Mapping[str, ListedModel] = field(default_factory=dict)
    """Entries of the model list by name."""


def collect_loads(arguments: Sequence[str]) -> CollectedLoads:
    """Collect the tests of a session, with all of its options, and return their engine loads.

    Args:
        arguments: of pytest, which name the backends: their engines need not be installed here.

    Raises:
        UsageError: an option is wrong or cannot be combined with several sessions, or a test module cannot be
            imported.
    """
    collector = _Collector()
    path = list(sys.path)
    try:
        pytest.main([*_COLLECT, *arguments], plugins=[plugin, ParityRun(), collector])
    finally:
        sys.path[:] = path
        collector.forget_test_modules()
    if collector.failure:
        raise UsageError(f"a test module cannot be collected: {collector.failure}")
    return collector.loads


class _Collector:
    """Hooks of the session that collects."""

    def __init__(self) -> None:
        self.loads = CollectedLoads()
        self.failure = ""
        self._test_files: set[str] = set()

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        """Note a test module, which the session imports."""
        self._test_files.add(str(module_path))

    def forget_test_modules(self) -> None:
        """Forget the imported test modules: a later session may have others of the same names."""
        for name, module in tuple(sys.modules.items()):
            if getattr(module, "__file__", None) in self._test_files:
                del sys.modules[name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        """Check the options."""
        for name, reason in _EXCLUDED.items():
            if get_option(config, name) is not None:
                raise pytest.UsageError(f"{format_option(config, name)} {reason}; it excludes --cluster")
        if is_fuzzing_requested(config):
            raise pytest.UsageError("--fuzz excludes --cluster: its cases depend on each other")
        if config.getoption("numprocesses", None):
            raise pytest.UsageError("-n excludes --cluster, which runs loads at the same time by itself")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that cannot be collected."""
        if report.failed:
            self.failure = f"{report.nodeid}: {str(report.longrepr).strip().rpartition(chr(10))[2]}"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the loads of the selected tests."""
        state = get_state(session.config)
        cases = Counter(target.load for target in state.targets)
        self.loads = CollectedLoads(cases, dict(state.model_list))
