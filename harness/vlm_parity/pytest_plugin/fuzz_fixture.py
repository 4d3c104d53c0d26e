"""Value of the ``parity_fuzz`` fixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vlm_parity.capture.protocol import InjectedFault
from vlm_parity.fuzz.campaign import NoExampleError
from vlm_parity.fuzz.frontends import FrontendLoadError
from vlm_parity.fuzz.session import FuzzResult, FuzzSession
from vlm_parity.models.resolve import get_model_name
from vlm_parity.pytest_plugin.fuzz_options import check_fault, get_fuzz_profile
from vlm_parity.pytest_plugin.known_issues_option import get_known_issues
from vlm_parity.pytest_plugin.model_list_option import get_model_list
from vlm_parity.pytest_plugin.option_checks import check_options
from vlm_parity.pytest_plugin.option_table import get_option
from vlm_parity.pytest_plugin.selection import (
    check_environment,
    get_backends,
    get_models,
    make_plan,
)
from vlm_parity.pytest_plugin.stash import FUZZ_SESSION
from vlm_parity.pytest_plugin.state import get_state
from vlm_parity.schema.trace import Outcome
from vlm_parity.session.session import NOT_COMPARABLE_ERRORS


@dataclass(frozen=True)
class FuzzTarget:
    """The model and the backend of one fuzz test."""

    model: str
    backend: str


class FuzzFixture:
    """Value of the ``parity_fuzz`` fixture: one model in one backend, to be fuzzed."""

    def __init__(self, session: FuzzSession, target: FuzzTarget, fault: InjectedFault | None) -> None:
        self._session, self._target, self._fault = session, target, fault

    def check(self) -> None:
        """Fail with every new finding; skip if the engine does not support the model."""
        result = self._fuzz()
        if isinstance(result, FrontendLoadError) and result.outcome is Outcome.UNSUPPORTED:
            pytest.skip(f"unsupported: {result}")
        if isinstance(result, FrontendLoadError):
            pytest.fail(f"{result.outcome}: {result}", pytrace=False)
        if isinstance(result, Exception):
            pytest.fail(str(result), pytrace=False)
        if result.fuzzed.incomplete_reason:
            pytest.fail(result.fuzzed.incomplete_reason, pytrace=False)
        if not all(finding.passes for finding in result.findings):
            pytest.fail(_format_result(result), pytrace=False)

    def _fuzz(self) -> FuzzResult | Exception:
        """Return the result, or the error that a test reports without a traceback."""
        try:
            return self._session.fuzz(self._target.model, self._target.backend, self._fault)
        except (FrontendLoadError, NoExampleError, *NOT_COMPARABLE_ERRORS) as error:
            return error


def parametrize(metafunc: pytest.Metafunc, fixture: str) -> None:
    """Parametrize a fuzz test by model and backend.

    Raises:
        pytest.UsageError: in a pytest-xdist worker, an option names something that does not exist.
    """
    config = metafunc.config
    state = get_state(config)
    try:
        check_environment(config)
        backends = get_backends(config)
        check_options(config, state.folder.path, f"{state.folder.shard}-fuzz")
        check_fault(config, backends)
        get_fuzz_profile(config)
        state.model_list.update(get_model_list(config, metafunc.definition.path.parent))
    except pytest.UsageError as error:
        if state.folder.is_worker:
            raise
        state.usage_error = error
        return
    targets = [
        pytest.param(FuzzTarget(model, backend), id=f"{get_model_name(model)}-{backend}")
        for model in get_models(config, state.model_list)
        for backend in backends
    ]
    metafunc.parametrize(fixture, targets, indirect=True)


def build_fixture(request: pytest.FixtureRequest) -> FuzzFixture:
    """Return the fuzzer of the test's model and backend; the first one starts the fuzz session."""
    config = request.config
    if FUZZ_SESSION not in config.stash:
        config.stash[FUZZ_SESSION] = _start_session(config, request.path.parent)
    return FuzzFixture(config.stash[FUZZ_SESSION], request.param, _get_fault(config))


def _get_fault(config: pytest.Config) -> InjectedFault | None:
    name: str | None = get_option(config, "fuzz-fault")
    if name is None:
        return None
    from vlm_parity.selfcheck.registry import build_injected_fault

    return build_injected_fault(name)


def _start_session(config: pytest.Config, suite: Path) -> FuzzSession:
    state = get_state(config)
    plan = make_plan(config, state.folder.path, f"{state.folder.shard}-fuzz", state.model_list)
    session = FuzzSession(plan, get_fuzz_profile(config), get_known_issues(config, suite), state.reporter())
    state.start_shard(session.shard, get_backends(config))
    return session


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
