"""Faults in the front ends of real engines: the right stage differs with the right cause."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.frontends import LoadFrontend
from vlm_parity.backends.base import Backend, Settings
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.capture.worker import capture_case
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Trace
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.selfcheck import faults_input_ids as ids
from vlm_parity.selfcheck import faults_media as media
from vlm_parity.selfcheck import faults_prompt as prompt
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.registry import inject_fault
from vlm_parity.verdicts.decide import decide_verdict

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

CASES = load_cases(Path(__file__).parents[2] / "cases" / "conversations")
SETTINGS = Settings(depth=Depth.TOKENS)
FAULTS = [fault for fault in (*prompt.FAULTS, *ids.FAULTS, *media.FAULTS) if ENGINE in fault.injectors]


class Frontends:
    """The front ends of the engine and the reference for one model."""

    def __init__(self, load_frontend: LoadFrontend, model: str, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, tuple[LoadRequest, Backend]] = {
            name: (LoadRequest.of(name, build_checkpoint(model), SETTINGS), load_frontend(name, model))
            for name in ("transformers", ENGINE)
        }
        self.engine = self._loaded[ENGINE][1]
        self.reference = cache(lambda case: self.capture("transformers", case))

    def capture(self, name: str, case: str) -> Trace:
        """Capture a case and write its trace to the folder that ``compare`` reads."""
        load_request, backend = self._loaded[name]
        request = CaptureRequest(
            case=CASES[case], case_folder=CASES[case].folder, folder=self._folder / name / case
        )
        trace, _ = capture_case(backend, load_request, request)
        assert trace.outcome is Outcome.CAPTURED, trace.message
        return trace

    def compare(self, case: str) -> Verdict:
        """Compare the engine in its current state with the reference."""
        reference, tested = self.reference(case), self.capture(ENGINE, case)
        return decide_verdict(
            reference, tested, self._folder / "transformers" / case, self._folder / ENGINE / case, "reproduce"
        )


@pytest.fixture(scope="module")
def get_frontends(
    load_frontend: LoadFrontend, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Frontends]:
    """Return a function that returns the front ends of a model."""
    return cache(lambda model: Frontends(load_frontend, model, tmp_path_factory.mktemp(model)))


INJECTED = [(model, fault) for model in DEFAULT_FAMILIES for fault in FAULTS if model in fault.models]


@pytest.mark.parametrize(("model", "fault"), INJECTED, ids=lambda value: getattr(value, "name", value))
def test_a_fault_is_found_at_its_stage_with_its_cause(
    get_frontends: Callable[[str], Frontends], model: str, fault: Fault
) -> None:
    frontends = get_frontends(model)
    for case in fault.cases:
        with inject_fault(frontends.engine, fault.name):
            verdict = frontends.compare(case)
        causes = [diagnosis.cause for diagnosis in verdict.diagnoses][:1]
        assert (case, verdict.first_divergence, causes) == (case, fault.stage, [fault.cause]), verdict.reason


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_no_fault_remains_after_its_removal(get_frontends: Callable[[str], Frontends], model: str) -> None:
    frontends = get_frontends(model)
    for fault in FAULTS:
        if model in fault.models:
            with inject_fault(frontends.engine, fault.name):
                pass
    for case in sorted({case for fault in FAULTS if model in fault.models for case in fault.cases}):
        assert (case, frontends.compare(case).kind) == (case, VerdictKind.MATCH)
