"""Faults planted in the real engines' front ends: the right stage turns, and the right cause is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from vlm_parity.backends.base import Backend, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.capture.worker import capture_case
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.trace import Depth, Outcome, Trace
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.selfcheck import faults_input_ids as ids
from vlm_parity.selfcheck import faults_media as media
from vlm_parity.selfcheck import faults_prompt as text
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.registry import inject_fault
from vlm_parity.verdicts.decide import decide_verdict

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

CASES = load_cases(Path(__file__).parents[2] / "cases" / "conversations")
SETTINGS = Settings(depth=Depth.TOKENS)
FAULTS = [fault for fault in (*text.FAULTS, *ids.FAULTS, *media.FAULTS) if ENGINE in fault.injectors]


class Sides:
    """The engine and the reference beside each other, a model's front ends only."""

    def __init__(self, model: str, folder: Path) -> None:
        self._folder = folder
        self._opened = {name: self._open(name, model) for name in ("transformers", ENGINE)}
        self.engine = self._opened[ENGINE][1]
        self.reference = cache(lambda case: self.ask("transformers", case))

    def _open(self, name: str, model: str) -> tuple[LoadRequest, Backend]:
        backend, checkpoint = load_backend_class(name)(SETTINGS), build_checkpoint(model)
        backend.load(checkpoint)
        return LoadRequest.of(name, checkpoint, SETTINGS), backend

    def ask(self, name: str, case: str) -> Trace:
        """The trace of a case, written where ``verdict`` finds its arrays."""
        opened, backend = self._opened[name]
        asked = CaptureRequest(
            case=CASES[case], case_folder=CASES[case].folder, folder=self._folder / name / case
        )
        trace = capture_case(backend, opened, asked)
        assert trace.outcome is Outcome.CAPTURED, trace.message
        return trace

    def verdict(self, case: str) -> Verdict:
        """The engine as it is now against the reference."""
        reference, tested = self.reference(case), self.ask(ENGINE, case)
        return decide_verdict(
            reference, tested, self._folder / "transformers" / case, self._folder / ENGINE / case, "reproduce"
        )

    def close(self) -> None:
        for _, backend in self._opened.values():
            backend.close()


@pytest.fixture(scope="module")
def sides_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Sides]]:
    """The sides of each model, loaded when they are first asked for."""
    with ExitStack() as opened:

        @cache
        def sides_of(model: str) -> Sides:
            return opened.enter_context(closing(Sides(model, tmp_path_factory.mktemp(model))))

        yield sides_of


PLANTED = [(model, fault) for model in DEFAULT_FAMILIES for fault in FAULTS if model in fault.models]


@pytest.mark.parametrize(("model", "fault"), PLANTED, ids=lambda value: getattr(value, "name", value))
def test_a_fault_is_found_where_it_is_and_named(
    sides_of: Callable[[str], Sides], model: str, fault: Fault
) -> None:
    sides = sides_of(model)
    for case in fault.cases:
        with inject_fault(sides.engine, fault.name):
            found = sides.verdict(case)
        named = [diagnosis.cause for diagnosis in found.diagnoses][:1]
        assert (case, found.first_divergence, named) == (case, fault.stage, [fault.cause]), found.reason


@pytest.mark.parametrize("model", DEFAULT_FAMILIES)
def test_what_was_planted_is_gone_afterwards(sides_of: Callable[[str], Sides], model: str) -> None:
    sides = sides_of(model)
    for fault in FAULTS:
        if model in fault.models:
            with inject_fault(sides.engine, fault.name):
                pass
    for case in sorted({case for fault in FAULTS if model in fault.models for case in fault.cases}):
        assert (case, sides.verdict(case).kind) == (case, VerdictKind.MATCH)
