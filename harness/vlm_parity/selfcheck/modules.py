"""Self-check of located modules: each planted module fault has to be named, and nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vlm_parity.capture.process import EngineProcess
from vlm_parity.capture.protocol import CaptureRequest, LocateRequest
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.diagnosis.module_causes import name_causes
from vlm_parity.schema.case import Case
from vlm_parity.schema.location import Location, ModuleDifference, read_location
from vlm_parity.schema.trace import Outcome, read_trace
from vlm_parity.selfcheck.module_faults import ModuleFault, build_module_fault
from vlm_parity.selfcheck.record import ModuleRow

_STEPS = 2
"""The prompt and one decoding step are compared."""


@dataclass
class ModuleSelfcheck:
    """Checks one engine; the results are collected in ``rows``."""

    process: EngineProcess
    reference_process: EngineProcess
    references: Mapping[str, StoredTrace]
    folder: Path
    timeout: float
    backend: str
    model: str
    rows: list[ModuleRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Failures of the harness itself."""
    _clean: frozenset[str] | None = None

    def check(self, fault: ModuleFault, case: Case) -> ModuleRow | None:
        """Locate a fault; None if the modules could not be compared."""
        if self._clean is None:
            location = self._locate(case, None)
            self._clean = frozenset(map(_name, location.differences)) if location is not None else frozenset()
        location = self._locate(case, fault)
        if location is None:
            return None
        found = [each for each in location.differences if _name(each) not in self._clean]
        matching = [each for each in found if re.search(rf"{fault.expected}$", _name(each))]
        row = ModuleRow(
            fault=fault.name,
            backend=self.backend,
            model=self.model,
            case=case.name,
            expected=fault.expected,
            named=tuple(map(_name, found)),
            is_correct=bool(matching) and len(matching) == len(found),
            expected_cause=fault.cause,
            cause=matching[0].cause if matching else "",
            clean_differences=len(self._clean),
            seconds=location.seconds,
        )
        self.rows.append(row)
        return row

    def _locate(self, case: Case, fault: ModuleFault | None) -> Location | None:
        reference = self.references[case.name]
        continuation = (reference.trace.continuation or ())[:_STEPS]
        request = CaptureRequest(
            case=case,
            case_folder=case.folder,
            folder=self.folder,
            continuation=continuation,
            modules=self.folder,
            fault=build_module_fault(fault) if fault is not None else None,
        )
        self.process.capture(request, self.timeout)
        trace = read_trace(self.folder)
        message = trace.message
        if trace.outcome is Outcome.CAPTURED:
            locate = LocateRequest(
                case=case, case_folder=case.folder, modules=self.folder, continuation=continuation
            )
            response = self.reference_process.locate(locate, self.timeout)
            if response.outcome is Outcome.CAPTURED:
                location = name_causes(read_location(self.folder))
                shutil.rmtree(self.folder)
                return location
            message = response.message
        subject = fault.name if fault is not None else "no fault"
        self.problems.append(f"{self.backend} {self.model} modules: {subject} on {case.name}: {message}")
        return None


def _name(difference: ModuleDifference) -> str:
    return f"{difference.module} {difference.point}"
