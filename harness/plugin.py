"""The pytest plug-in: options, parameters, the ``comparison`` fixture, and the report at the end.

It is quiet in a test run that does not use the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.backends import backend_targets
from harness.case import Case
from harness.comparison import Comparison
from harness.judge.ledger import Entry
from harness.known import chosen_ledger
from harness.media.load import BadMedia
from harness.model_list import chosen_model_list
from harness.models import FAMILIES
from harness.models.listed import ListedModel
from harness.options import (
    add_options,
    chosen_backends,
    chosen_cases,
    chosen_models,
    default_part,
    default_run,
    make_plan,
)
from harness.plan import EngineLoad
from harness.progress import Reporter
from harness.session import Session
from harness.target import Target, parameter, takes, target_of, worth_running
from harness.trace import Depth
from harness.variants import chosen_variants
from harness.verdict import Verdict

pytest_plugins = ["harness.fuzz.plugin"]

STATE = pytest.StashKey["State"]()


class State:
    """What the plug-in knows of the running pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        self.is_worker = worker is not None
        self.run = Path(worker["parity_run"]) if worker else default_run(config)
        self._part = f"{worker['parity_part']}-{worker['workerid']}" if worker else None
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
            except BadMedia as problem:
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
        chosen = self._config.getoption("--case") or self._config.getoption("--model")
        return not chosen and set(self.targets) == self.asked


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    for depth in Depth:
        config.addinivalue_line("markers", f"{depth}: captured at this depth")
    for modality in ("text", "image", "video", "audio"):
        config.addinivalue_line("markers", f"{modality}: the case holds this")
    for name in (*FAMILIES, *backend_targets()):
        config.addinivalue_line("markers", f"{name}: of this family or backend")
    config.stash[STATE] = State(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Has pytest-xdist give all cases of an engine to one worker, where it would deal them out."""
    if config.getoption("dist") != "load":
        return None
    from harness.scheduling import ByEngine

    return ByEngine(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a pytest-xdist worker which run it writes to."""
    state = node.config.stash[STATE]
    node.workerinput["parity_run"] = str(state.run)
    node.workerinput["parity_part"] = state.part


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "comparison" not in metafunc.fixturenames:
        return
    config = metafunc.config
    state = config.stash[STATE]
    try:
        cases = state.cases_beside(metafunc.definition.path.parent)
        backends = chosen_backends(config)
        variants = chosen_variants(config, backends)
        make_plan(config, state.run, state.part)
    except pytest.UsageError as problem:
        if state.is_worker:
            raise  # all that pytest-xdist can tell of is an error of the collection
        state.wrong_use = problem  # raised here, pytest shows it with a traceback
        return
    parameters = [
        parameter(Target(EngineLoad(model, backend, variant), name), case)
        for model in chosen_models(config, state.listed)
        for backend in backends
        for variant in variants
        for name, case in cases.items()
        if takes(model, case, state.listed) and worth_running(case, variant)
    ]
    state.asked.update(each.values[0] for each in parameters)
    metafunc.parametrize("comparison", parameters, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is too deep, and brings the tests of one engine together.

    Raises:
        pytest.UsageError: an option names something that is not there.
    """
    wrong_use = config.stash[STATE].wrong_use
    if wrong_use is not None:
        raise wrong_use
    cases = config.stash[STATE].cases
    shallow = config.getoption("--depth") == Depth.TOKENS
    deeper = [
        item
        for item in items
        if item.get_closest_marker("logits")
        and (target := target_of(item))
        and (shallow or cases[target.case].depth == "tokens")
    ]
    if deeper:
        config.hook.pytest_deselected(items=deeper)
        left_out = set(deeper)
        items[:] = [item for item in items if item not in left_out]
    groups: dict[EngineLoad, int] = {}

    def group(item: pytest.Item) -> int:
        target = target_of(item)
        return groups.setdefault(target.load, len(groups) + 1) if target else 0

    items.sort(key=group)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Notes what has been selected."""
    found = (target_of(item) for item in session.items)
    session.config.stash[STATE].targets = list(dict.fromkeys(target for target in found if target))


@pytest.fixture
def comparison(request: pytest.FixtureRequest) -> Comparison:
    """The comparison of one backend with transformers, on one model and one case."""
    comparison: Comparison = request.config.stash[STATE].comparison(request.param)
    return comparison


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    state = session.config.stash[STATE]
    if exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        state.finish()
    if state.is_worker or not state.compared:
        return
    from harness.report.publish import publish

    run = publish(state.run)
    if exitstatus == pytest.ExitCode.OK and (run.problems or run.incomplete):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    state = config.stash[STATE]
    if not state.compared:
        return
    from harness.report.run import load_run
    from harness.report.terminal import print_summary

    terminalreporter.section("vlm-parity")
    print_summary(load_run(state.run), Console())
