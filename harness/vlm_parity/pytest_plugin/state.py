"""State of the plug-in within one pytest session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from vlm_parity.models.model_list import ListedModel
from vlm_parity.pytest_plugin.comparison import Comparison
from vlm_parity.pytest_plugin.known_issues_option import chosen_ledger
from vlm_parity.pytest_plugin.model_list_option import chosen_model_list
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.options import chosen_cases, default_part, default_run, make_plan
from vlm_parity.pytest_plugin.target import Target
from vlm_parity.schema.case import Case
from vlm_parity.schema.verdict import Verdict
from vlm_parity.session.plan import EngineLoad
from vlm_parity.session.progress import Reporter
from vlm_parity.session.session import Session
from vlm_parity.util.errors import MediaError
from vlm_parity.verdicts.known_issues import Entry

STATE = pytest.StashKey["State"]()


class State:
    """What the plug-in knows of the running pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        self.is_worker = worker is not None
        self.run = Path(worker["parity_run"]) if worker else default_run(config)
        self._part = f"{worker['parity_shard']}-{worker['workerid']}" if worker else None
        self._config = config
        self.cases: dict[str, Case] = {}
        self._read: dict[Path, dict[str, Case]] = {}
        self.targets: list[Target] = []
        self.asked: set[Target] = set()
        self._ledger: dict[str, Entry] = {}
        self.listed: dict[str, ListedModel] = {}
        self.wrong_use: pytest.UsageError | None = None
        self._session: Session | None = None
        self._begun: set[EngineLoad] = set()

    def cases_beside(self, folder: Path) -> dict[str, Case]:
        """The chosen cases of the test modules in a folder, read once."""
        if folder not in self._read:
            self._read[folder] = chosen_cases(self._config, folder)
            self.cases.update(self._read[folder])
            self._ledger.update({entry.name: entry for entry in chosen_ledger(self._config, folder)})
            self.listed.update(chosen_model_list(self._config, folder))
        return self._read[folder]

    @property
    def part(self) -> str:
        """The name of this session's part of the run."""
        if self._part is None:
            self._part = default_part(self._config)
        return self._part

    @property
    def session(self) -> Session:
        """The session, begun by the first test that needs it."""
        if self._session is None:
            plan = make_plan(self._config, self.run, self.part, self.listed)
            ledger = tuple(self._ledger.values())
            self._session = Session(plan, self.cases, self.reporter(), ledger)
            if not self.is_worker:
                self._session.part.expect(len(self.targets))
            try:
                self._session.part.begin(dict.fromkeys(target.load.backend for target in self.targets))
            except MediaError as problem:
                pytest.exit(str(problem), returncode=pytest.ExitCode.USAGE_ERROR)
        return self._session

    def comparison(self, target: Target) -> Comparison:
        engine = target.load.engine
        together = [(one.load, one.case) for one in self.targets if one.load.engine == engine]

        def verdict() -> Verdict:
            if self.is_worker and engine not in self._begun:
                # Which engines a worker gets turns out as it goes.
                self._begun.add(engine)
                self.session.part.expect(len(together))
            return self.session.verdict(target.load, target.case, together)

        return Comparison(verdict)

    def reporter(self) -> Reporter:
        """What shows how a session gets on."""
        return Reporter(Console(), self._uncovered)

    @contextmanager
    def _uncovered(self) -> Iterator[None]:
        manager = self._config.pluginmanager.getplugin("capturemanager")
        if manager is None:
            yield
            return
        with manager.global_and_fixture_disabled():
            yield

    @property
    def compared(self) -> bool:
        """Whether this session, its fuzzer, or a pytest-xdist worker of it, has written a part."""
        others = (f"{self.part}-gw*", f"{self.part}-fuzz")
        return self._session is not None or any(any((self.run / "parts").glob(name)) for name in others)

    def finish(self) -> None:
        if self._session is not None:
            self._session.finish(everything=self._asks_for_everything)

    @property
    def _asks_for_everything(self) -> bool:
        chosen = get_option(self._config, "case") or get_option(self._config, "model")
        return not chosen and set(self.targets) == self.asked
