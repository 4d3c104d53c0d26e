"""The self-check of one loaded engine: clean, with each fault, and clean again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.process import EngineProcess
from vlm_parity.capture.protocol import CaptureRequest
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import Stage, Trace, read_trace
from vlm_parity.schema.verdict import Diagnosis, DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.selfcheck.cause_grade import CauseGrade, grade_cause
from vlm_parity.selfcheck.effect import measure_effect
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.record import STRICT_DTYPE, ControlRow, FaultRow
from vlm_parity.selfcheck.registry import build_injected_fault
from vlm_parity.verdicts.conditioned import select_condition
from vlm_parity.verdicts.decide import decide_conditioned, decide_verdict

_EXACT = {Stage.PROMPT, Stage.INPUT_IDS, Stage.SPANS, Stage.MEDIA, Stage.POSITIONS, Stage.GREEDY}
REPEAT_CONTROL = "repeated in reverse order"
GIVEN_CONTROL = "on the reference's values, behind a difference"

Effects = dict[tuple[str, str, str, str], float]
"""The effect of each fault at its stage in float32, by fault, backend, model and case."""


@dataclass
class CapturedCase:
    """One trace of the engine, with its verdict."""

    trace: Trace
    folder: Path
    verdict: Verdict


@dataclass
class EngineSelfcheck:
    """Checks one engine; the results are collected in ``faults`` and ``controls``."""

    process: EngineProcess
    references: Mapping[str, StoredTrace]
    folder: Path
    dtype: str
    mode: str
    effects: Effects
    timeout: float
    default: dict[tuple[str, str, str], Verdict]
    """The verdicts on the engine without a fault in the default mode, by model, dtype and case."""
    faults: list[FaultRow] = field(default_factory=list)
    controls: list[ControlRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Failures of the harness itself: a fault that the engine did not get is neither found nor missed."""
    _baseline: dict[str, CapturedCase] = field(default_factory=dict)
    _differing: dict[str, CapturedCase] = field(default_factory=dict)

    def check_baseline(self, cases: Iterable[Case]) -> None:
        """Capture cases without a fault; the effects of the faults are measured against them."""
        for case in cases:
            self._baseline[case.name] = self._capture(case, None, "clean")
        self._check_captured("baseline", self._baseline.values())

    def check_fault(self, fault: Fault, case: Case) -> FaultRow:
        """Capture one case with a fault."""
        captured = self._capture(case, fault.name, "fault", outputs=fault.needs_engine)
        row = self._build_first_row(fault, self._baseline[case.name], captured)
        shutil.rmtree(captured.folder)
        self.faults.append(row)
        return row

    def check_second_fault(self, fault: Fault, case: Case, stage: Stage) -> FaultRow:
        """Capture a case with a fault behind a difference at a stage that the engine has without it."""
        clean = self._differing.get(case.name) or self.check_differing(case, stage)
        captured = self._capture_behind(case, fault.name, "second-fault")
        row = self._build_second_row(fault, clean, captured)
        shutil.rmtree(captured.folder)
        self.faults.append(row)
        return row

    def check_differing(self, case: Case, stage: Stage) -> CapturedCase:
        """Capture a case on which the engine differs; its comparisons on given values are a control.

        Args:
            case: the case.
            stage: the stage at which it has to differ first.
        """
        captured = self._differing[case.name] = self._capture_behind(case, None, "differing")
        verdict = captured.verdict
        if verdict.first_divergence is not stage:
            engine = f"{verdict.backend} {verdict.model} {self.dtype}"
            found = verdict.first_divergence or "no stage"
            self.problems.append(f"{engine}: {case.name} differs at {found}, not at {stage}")
        given = [diff.conditioned for diff in verdict.stages if diff.conditioned is not None]
        compared = [diff for diff in given if diff.status is not DiffStatus.NOT_COMPARED]
        alarms = [diff for diff in compared if diff.differs]
        self.controls.append(
            ControlRow(
                control=GIVEN_CONTROL,
                backend=verdict.backend,
                model=verdict.model,
                dtype=self.dtype,
                comparisons=len(compared),
                false_alarms=len(alarms),
                largest_limit_ratio=max((_get_limit_ratio(diff) or 0.0 for diff in compared), default=0.0),
                messages=tuple(f"{case.name}: {diff.stage}: {diff.message}" for diff in alarms),
            )
        )
        return captured

    def check_control(self, name: str, cases: Sequence[Case]) -> ControlRow:
        """Capture cases under a clean control."""
        injected = None if name == REPEAT_CONTROL else name
        ordered = reversed(cases) if name == REPEAT_CONTROL else cases
        captured = [self._capture(case, injected, "control") for case in ordered]
        return self._check_captured(name, captured)

    def check_other_images(self, cases: Iterable[Case]) -> ControlRow:
        """Capture cases that no fault was injected on."""
        return self._check_captured("other images", [self._capture(case, None, "control") for case in cases])

    def _capture(
        self, case: Case, fault: str | None, subfolder: str, *, outputs: bool = True
    ) -> CapturedCase:
        reference = self.references[case.name]
        folder = self.folder / subfolder / case.name
        request = CaptureRequest(
            case=case,
            case_folder=case.folder,
            folder=folder,
            continuation=reference.trace.continuation if outputs else None,
            fault=build_injected_fault(fault) if fault is not None else None,
        )
        self.process.capture(request, self.timeout)
        trace = read_trace(folder)
        key = trace.model, self.dtype, case.name
        default = self.default.get(key) if self.mode != DEFAULT_MODE else None
        verdict = decide_verdict(reference.trace, trace, reference.folder, folder, "", default)
        if verdict.kind is VerdictKind.HARNESS_ERROR:
            subject = f"{fault or 'no fault'} on {case.name}"
            self.problems.append(f"{trace.backend} {trace.model} {self.dtype}: {subject}: {verdict.reason}")
        if self.mode == DEFAULT_MODE and fault is None:
            self.default.setdefault(key, verdict)
        return CapturedCase(trace, folder, verdict)

    def _capture_behind(self, case: Case, fault: str | None, subfolder: str) -> CapturedCase:
        """Capture a case, then on the values of the reference as far as an earlier difference requires it.

        Returns:
            The trace on the engine's own values, with the verdict on all passes.
        """
        captured = self._capture(case, fault, subfolder)
        verdict, backend = captured.verdict, captured.trace.backend
        reference = self.references[case.name]
        offered = load_backend_class(backend).conditions
        while (condition := select_condition(verdict, offered)) is not None:
            folder = self.folder / f"{subfolder}-{condition}" / case.name
            request = CaptureRequest(
                case=case,
                case_folder=case.folder,
                folder=folder,
                continuation=reference.trace.continuation,
                condition=condition,
                reference_folder=reference.folder,
                fault=build_injected_fault(fault) if fault is not None else None,
            )
            self.process.capture(request, self.timeout)
            verdict = decide_conditioned(verdict, read_trace(folder), reference.folder, folder)
            shutil.rmtree(folder)
        if verdict.kind is not VerdictKind.MISMATCH:
            subject = f"{fault or 'no fault'} on {case.name}, on given values"
            self.problems.append(f"{backend} {verdict.model} {self.dtype}: {subject}: {verdict.reason}")
        return replace(captured, verdict=verdict)

    def _build_second_row(self, fault: Fault, clean: CapturedCase, faulty: CapturedCase) -> FaultRow:
        before = {diff.stage for diff in clean.verdict.differences}
        differences = faulty.verdict.differences
        found = next((diff for diff in differences if diff.stage not in before), None)
        diagnoses = faulty.verdict.get_diagnoses(found.stage) if found is not None else ()
        row = self._build_row(fault, clean, faulty, found, diagnoses, is_detected=found is not None)
        return row.model_copy(update={"behind": clean.verdict.first_divergence})

    def _build_first_row(self, fault: Fault, clean: CapturedCase, faulty: CapturedCase) -> FaultRow:
        verdict = faulty.verdict
        if fault.behind is not None:
            return self._build_row_behind(fault, fault.behind, clean, faulty)
        found = verdict.stage(verdict.first_divergence) if verdict.first_divergence is not None else None
        is_detected = _differs_before(verdict, clean.verdict)
        return self._build_row(fault, clean, faulty, found, verdict.diagnoses, is_detected=is_detected)

    def _build_row_behind(
        self, fault: Fault, stage: Stage, clean: CapturedCase, faulty: CapturedCase
    ) -> FaultRow:
        """Build the row of a fault that is to be found behind the difference that its injector causes."""
        verdict = faulty.verdict
        found = next((diff for diff in verdict.differences if diff.stage is not stage), None)
        diagnoses = verdict.get_diagnoses(found.stage) if found is not None else ()
        is_detected = found is not None and verdict.first_divergence is stage
        row = self._build_row(fault, clean, faulty, found, diagnoses, is_detected=is_detected)
        return row.model_copy(update={"behind": stage})

    def _build_row(
        self,
        fault: Fault,
        clean: CapturedCase,
        faulty: CapturedCase,
        found: StageDiff | None,
        diagnoses: tuple[Diagnosis, ...],
        *,
        is_detected: bool,
    ) -> FaultRow:
        """Build the row of a fault from the difference that stands for it, and its diagnoses."""
        verdict = faulty.verdict
        stage = found.stage if found is not None else None
        cause = diagnoses[0].cause if diagnoses else ""
        return FaultRow(
            fault=fault.name,
            backend=verdict.backend,
            model=verdict.model,
            case=verdict.case,
            dtype=self.dtype,
            mode=self.mode,
            visible=self._is_visible(fault, clean, faulty),
            detected=is_detected,
            is_stage_correct=is_detected and stage is fault.stage,
            grade=grade_cause(cause, fault.cause, fault.stage, stage) if is_detected else CauseGrade.NONE,
            limit_ratio=_get_limit_ratio(found or verdict.stage(fault.stage)),
            expected_stage=fault.stage,
            stage=stage,
            expected_cause=fault.cause,
            cause=cause,
            confidence=diagnoses[0].confidence if diagnoses else None,
            message=verdict.reason or str(verdict.kind),
        )

    def _is_visible(self, fault: Fault, clean: CapturedCase, faulty: CapturedCase) -> bool:
        """Return whether the effect of a fault exceeds the noise of the dtype.

        In a coarser dtype any change perturbs the rounding, so the size of the effect itself is measured in
        float32.
        """
        verdict = faulty.verdict
        key = fault.name, verdict.backend, verdict.model, verdict.case
        if self.dtype == STRICT_DTYPE or fault.stage in _EXACT:
            self.effects[key] = measure_effect(
                fault.stage, clean.trace, clean.folder, faulty.trace, faulty.folder
            )
        effect = self.effects.get(key, 0.0)
        if fault.stage in _EXACT:
            return effect > 0
        floor = read_noise_floor(self.references[verdict.case].folder, self.dtype)
        assert floor is not None, "the references are captured with their noise floors"
        return effect >= compute_rms(floor.stages[fault.stage].rms)

    def _check_captured(self, name: str, captured: Iterable[CapturedCase]) -> ControlRow:
        verdicts = [case.verdict for case in captured]
        diffs = [diff for verdict in verdicts for diff in verdict.stages]
        alarms = [diff for diff in diffs if diff.status is DiffStatus.MISMATCH]
        # A case that failed as a whole has no differing stage.
        failed = [verdict for verdict in verdicts if verdict.kind is not VerdictKind.MATCH]
        row = ControlRow(
            control=name,
            backend=verdicts[0].backend,
            model=verdicts[0].model,
            dtype=self.dtype,
            comparisons=sum(diff.status is not DiffStatus.NOT_COMPARED for diff in diffs),
            false_alarms=max(len(alarms), len(failed)),
            largest_limit_ratio=max(
                (float(diff.metrics.get("limit_ratio", 0)) for diff in diffs), default=0.0
            ),
            messages=tuple(f"{verdict.case}: {verdict.kind}: {verdict.reason}" for verdict in failed),
        )
        self.controls.append(row)
        return row


def _differs_before(verdict: Verdict, clean: Verdict) -> bool:
    """Return whether a verdict differs at an earlier stage than the one on the engine without a fault."""
    if verdict.kind is not VerdictKind.MISMATCH or verdict.first_divergence is None:
        return False
    stages = list(Stage)
    limit = stages.index(clean.first_divergence) if clean.first_divergence else len(stages)
    return stages.index(verdict.first_divergence) < limit


def _get_limit_ratio(diff: StageDiff) -> float | None:
    ratio = diff.metrics.get("limit_ratio")
    return float(ratio) if ratio is not None else None
