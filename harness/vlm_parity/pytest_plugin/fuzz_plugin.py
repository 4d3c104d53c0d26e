"""The fuzzer in pytest: parameters and the ``parity_fuzz`` fixture. Loaded by the plug-in."""

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
    """The model and the backend of one fuzz test."""

    model: str
    backend: str


class FuzzFixture:
    """The object behind the ``parity_fuzz`` fixture: one model in one backend, to be fuzzed."""

    def __init__(self, session: FuzzSession, target: FuzzTarget, fault: InjectedFault | None) -> None:
        self._session, self._target, self._fault = session, target, fault

    def check(self) -> None:
        """Fail with every new finding; skip if the engine does not support the model."""
        from vlm_parity.fuzz.frontends import FrontendLoadError

        try:
            result = self._session.fuzz(self._target.model, self._target.backend, self._fault)
        except FrontendLoadError as error:
            if error.outcome is Outcome.UNSUPPORTED:
                pytest.skip(f"unsupported: {error}")
            pytest.fail(f"{error.outcome}: {error}", pytrace=False)
        except NOT_COMPARABLE_ERRORS as error:
            pytest.fail(str(error), pytrace=False)
        if result.fuzzed.problem:
            pytest.fail(result.fuzzed.problem, pytrace=False)
        if not all(finding.passes for finding in result.findings):
            pytest.fail(_format_result(result), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of fuzz tests."""
    config.addinivalue_line("markers", "parity_fuzz: generates its own cases; runs if an option requests it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize fuzz tests by model and backend."""
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
    except pytest.UsageError as error:
        if state.is_worker:
            raise
        state.usage_error = error
        return
    targets = [
        pytest.param(FuzzTarget(model, backend), id=f"{get_model_name(model)}-{backend}")
        for model in get_models(config, state.model_list)
        for backend in backends
    ]
    metafunc.parametrize(FIXTURE, targets, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the fuzz tests if no option requests them."""
    if is_fuzzing_requested(config):
        return
    fuzzing = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
    if fuzzing:
        config.hook.pytest_deselected(items=fuzzing)
        items[:] = [item for item in items if item not in fuzzing]


@pytest.fixture
def parity_fuzz(request: pytest.FixtureRequest) -> FuzzFixture:
    """Return the fuzzer of one model in one backend."""
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
    known_issues = get_known_issues(config, folder)
    session = FuzzSession(plan, get_fuzz_profile(config), known_issues, state.reporter())
    session.shard.start(get_backends(config))
    return session


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Finish the fuzz session before the report is written."""
    fuzz_session = session.config.stash.get(_SESSION, None)
    if fuzz_session is not None and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        fuzz_session.finish()


def _format_result(result: FuzzResult) -> str:
    fuzzed = result.fuzzed
    lines = [f"{fuzzed.model} in {fuzzed.backend} against transformers, {fuzzed.examples} examples"]
    for finding in result.findings:
        if not finding.passes:
            message = finding.message.partition("\n")[0]
            lines += [f"{finding.kind} {finding.failed_property}: {finding.cause or message}", f"  {message}"]
            lines += [f"  {finding.not_shrunk_reason}"] if finding.not_shrunk_reason else []
            lines += [f"  reproduce: {finding.reproduce}"]
    return "\n".join(lines)
