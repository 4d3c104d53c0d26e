"""State of the plug-in within one pytest session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from vlm_parity.models.model_list import ListedModel
from vlm_parity.pytest_plugin.comparison import Comparison
from vlm_parity.pytest_plugin.interrupts import handle_interrupts
from vlm_parity.pytest_plugin.known_issues_option import get_known_issues
from vlm_parity.pytest_plugin.model_list_option import get_model_list
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.run_folder import check_folders, get_run_folder
from vlm_parity.pytest_plugin.selection import get_cases, make_plan
from vlm_parity.pytest_plugin.stash import STATE
from vlm_parity.pytest_plugin.target import Target
from vlm_parity.report.publish import withdraw_report
from vlm_parity.schema.case import Case
from vlm_parity.schema.share import Share
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.plan import EngineLoad
from vlm_parity.session.progress import ProgressReporter
from vlm_parity.session.session import Session
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.encoding import escape_unprintable_output
from vlm_parity.util.errors import MediaError, UsageError
from vlm_parity.util.text import escape_terminal
from vlm_parity.verdicts.known_issues import KnownIssue


def get_state(config: pytest.Config) -> PluginState:
    """Return the state of a session, created by the first test that uses the plug-in."""
    if STATE not in config.stash:
        config.stash[STATE] = PluginState(config)
        handle_interrupts(config)
    state: PluginState = config.stash[STATE]
    return state


class PluginState:
    """State of the plug-in in the running pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        escape_unprintable_output()
        self.folder = get_run_folder(config)
        self._config = config
        self.cases: dict[str, Case] = {}
        self._read: dict[Path, dict[str, Case]] = {}
        self.targets: list[Target] = []
        self.selectable: set[Target] = set()
        self.share: Share | None = None
        self._known_issues: dict[str, KnownIssue] = {}
        self.model_list: dict[str, ListedModel] = {}
        self.usage_error: pytest.UsageError | None = None
        self._session: Session | None = None
        self._begun: set[EngineLoad] = set()

    def get_suite_cases(self, folder: Path) -> dict[str, Case]:
        """Return the selected cases of the test modules in a folder, read once."""
        if folder not in self._read:
            self._read[folder] = get_cases(self._config, folder)
            self.cases.update(self._read[folder])
            self._known_issues.update({entry.name: entry for entry in get_known_issues(self._config, folder)})
            self.model_list.update(get_model_list(self._config, folder))
        return self._read[folder]

    @property
    def session(self) -> Session:
        """The session, started by the first test that needs it."""
        if self._session is None:
            plan = make_plan(self._config, self.folder.path, self.folder.shard, self.model_list, self.share)
            known_issues = tuple(self._known_issues.values())
            self._session = Session(plan, self.cases, self.reporter(), known_issues)
            if not self.folder.is_worker:
                self._session.shard.add_expected(len(self.targets))
            backends = dict.fromkeys(target.load.backend for target in self.targets)
            self.start_shard(self._session.shard, backends)
            self.folder.is_started = True
        return self._session

    def start_shard(self, shard: ShardWriter, backends: Iterable[str]) -> None:
        """Check the folders to write into, and start a shard; if that fails, end the session."""
        try:
            check_folders(self._config)
            shard.hold()
            withdraw_report(self.folder.path)
            shard.start(backends)
        except (MediaError, UsageError) as error:
            pytest.exit(escape_terminal(str(error)), returncode=pytest.ExitCode.USAGE_ERROR)
        except OSError as error:
            message = escape_terminal(f"{shard.folder}: cannot be written: {error}")
            pytest.exit(message, returncode=pytest.ExitCode.USAGE_ERROR)

    def comparison(self, target: Target) -> Comparison:
        """Return the comparison of one test, captured with all others of its engine."""
        engine = target.load.engine
        batch = [(other.load, other.case) for other in self.targets if other.load.engine == engine]

        def verdict() -> Verdict:
            if self.folder.is_worker and engine not in self._begun:
                # pytest-xdist assigns engines to workers as they become free.
                self._begun.add(engine)
                self.session.shard.add_expected(len(batch))
            return self.session.get_verdict(target.load, target.case, batch)

        return Comparison(verdict)

    def reporter(self) -> ProgressReporter:
        """Return the reporter of the session's progress."""
        return ProgressReporter(Console(), self._capture_disabled)

    @contextmanager
    def _capture_disabled(self) -> Iterator[None]:
        manager = self._config.pluginmanager.getplugin("capturemanager")
        if manager is None:
            yield
            return
        with manager.global_and_fixture_disabled():
            yield

    def write_empty_share(self) -> None:
        """Write the shard of a share without an engine load."""
        if self.share is not None and self.share.is_empty and self.session:
            self.finish()

    def finish(self, failed_tests: Iterable[tuple[str, Target]] = ()) -> None:
        """Finish the session's shard, if there is one.

        Args:
            failed_tests: the id and the target of each failed test. Those whose verdict passes are stored,
                because nothing else in the shard shows them.
        """
        if self._session is not None:
            self._session.shard.set_failed_tests(
                nodeid for nodeid, target in failed_tests if not self._has_failing_verdict(target)
            )
            self._session.finish(is_complete=self._selects_everything)

    def release_shard(self) -> None:
        """Release the session's shard: an interrupted session has not finished it, and writes no more."""
        if self._session is not None:
            self._session.shard.release()

    def _has_failing_verdict(self, target: Target) -> bool:
        assert self._session is not None
        verdict = self._session.find_verdict(target.load, target.case)
        return verdict is not None and not verdict.kind.passes

    @property
    def _selects_everything(self) -> bool:
        chosen = get_option(self._config, "case") or get_option(self._config, "model")
        return not chosen and set(self.targets) == self.selectable
