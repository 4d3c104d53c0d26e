"""The fuzzer in pytest: options, parameters, and the ``fuzz`` fixture. It is loaded by ``vlm_parity.pytest_plugin.plugin``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlm_parity.models.resolve import get_model_name
from vlm_parity.pytest_plugin.fuzz_options import check_fault, get_fuzz_profile, is_fuzzing_requested
from vlm_parity.pytest_plugin.known_issues_option import get_known_issues
from vlm_parity.pytest_plugin.model_list_option import get_model_list
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.options import get_backends, get_models, make_plan
from vlm_parity.pytest_plugin.state import STATE
from vlm_parity.schema.trace import Outcome
from vlm_parity.session.session import NOT_COMPARABLE_ERRORS

if TYPE_CHECKING:
    from vlm_parity.capture.protocol import InjectedFault
    from vlm_parity.fuzz.session import FuzzResult, FuzzSession

_SESSION = pytest.StashKey["FuzzSession"]()
FIXTURE = "parity_fuzz"


@dataclass(frozen=True)
class FuzzTarget:
    """What one test fuzzes."""

    model: str
    backend: str


class FuzzFixture:
    """The ``fuzz`` fixture."""

    def __init__(self, session: FuzzSession, target: FuzzTarget, fault: InjectedFault | None) -> None:
        self._session, self._target, self._fault = session, target, fault

    def check(self) -> None:
        """Passes where nothing new is found, fails with each finding otherwise; skips where the engine does
        not serve the model.
        """
        from vlm_parity.fuzz.frontends import FrontendLoadError

        try:
            told = self._session.fuzz(self._target.model, self._target.backend, self._fault)
        except FrontendLoadError as problem:
            if problem.outcome is Outcome.UNSUPPORTED:
                pytest.skip(f"unsupported: {problem}")
            pytest.fail(f"{problem.outcome}: {problem}", pytrace=False)
        except NOT_COMPARABLE_ERRORS as problem:
            pytest.fail(str(problem), pytrace=False)
        if told.fuzzed.problem:
            pytest.fail(told.fuzzed.problem, pytrace=False)
        new = [finding for finding in told.findings if not finding.passes]
        if new:
            pytest.fail(_format_result(told), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "parity_fuzz: generates its own cases; runs if an option requests it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if FIXTURE not in metafunc.fixturenames:
        return
    config = metafunc.config
    if not is_fuzzing_requested(config):
        metafunc.parametrize(FIXTURE, [], indirect=True)
        return
    state = config.stash[STATE]
    try:
        backends = get_backends(config)
        check_fault(config, backends)
        get_fuzz_profile(config)
        state.model_list.update(get_model_list(config, metafunc.definition.path.parent))
    except pytest.UsageError as problem:
        if state.is_worker:
            raise
        state.usage_error = problem
        return
    targets = [
        pytest.param(FuzzTarget(model, backend), id=f"{get_model_name(model)}-{backend}")
        for model in get_models(config, state.model_list)
        for backend in backends
    ]
    metafunc.parametrize(FIXTURE, targets, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests that fuzz where no option asks for them."""
    if is_fuzzing_requested(config):
        return
    fuzzing = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
    if fuzzing:
        config.hook.pytest_deselected(items=fuzzing)
        items[:] = [item for item in items if item not in fuzzing]


@pytest.fixture
def parity_fuzz(request: pytest.FixtureRequest) -> FuzzFixture:
    """One model in one engine, to be fuzzed."""
    config = request.config
    if _SESSION not in config.stash:
        config.stash[_SESSION] = _start_session(config, request.path.parent)
    return FuzzFixture(config.stash[_SESSION], request.param, _get_fault(config))


def _get_fault(config: pytest.Config) -> InjectedFault | None:
    name: str | None = get_option(config, "fuzz-fault")
    if name is None:
        return None
    from vlm_parity.selfcheck.registry import build_injected_fault

    return build_injected_fault(name)


def _start_session(config: pytest.Config, folder: Path) -> FuzzSession:
    from vlm_parity.fuzz.session import FuzzSession

    state = config.stash[STATE]
    plan = make_plan(config, state.run, f"{state.shard}-fuzz", state.model_list)
    ledger = get_known_issues(config, folder)
    session = FuzzSession(plan, get_fuzz_profile(config), ledger, state.reporter())
    session.shard.start(get_backends(config))
    return session


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    fuzzing = session.config.stash.get(_SESSION, None)
    if fuzzing is not None and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        fuzzing.finish()


def _format_result(told: FuzzResult) -> str:
    fuzzed = told.fuzzed
    lines = [f"{fuzzed.model} in {fuzzed.backend} against transformers, {fuzzed.examples} examples"]
    for finding in told.findings:
        if not finding.passes:
            said = finding.message.partition("\n")[0]
            lines += [f"{finding.kind} {finding.failed_property}: {finding.cause or said}", f"  {said}"]
            lines += [f"  {finding.not_shrunk_reason}"] if finding.not_shrunk_reason else []
            lines += [f"  reproduce: {finding.reproduce}"]
    return "\n".join(lines)
