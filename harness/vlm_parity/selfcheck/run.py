"""The self-check of one environment: all its engines, faults and controls."""

from __future__ import annotations

import shutil
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.process import EngineProcess, start_engine_process
from vlm_parity.capture.protocol import LoadRequest
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.case import Case, ImagePart
from vlm_parity.schema.engine_setup import DEFAULT_MODE, Device, Dtype
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict
from vlm_parity.selfcheck.controls import CLEAN_CONTROLS
from vlm_parity.selfcheck.engine import REPEAT_CONTROL, Effects, EngineSelfcheck
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.module_faults import CASES as MODULE_FAULT_CASES
from vlm_parity.selfcheck.module_faults import FAULTS as MODULE_FAULTS
from vlm_parity.selfcheck.module_faults import ModuleFault, select_module_faults
from vlm_parity.selfcheck.modules import ModuleSelfcheck
from vlm_parity.selfcheck.record import STRICT_DTYPE, ControlRow, FaultRow, ModuleRow, SelfcheckRecord
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.second_faults import DIFFERING_CASES, DifferingCase, list_second_faults
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import CaptureProgress, ProgressReporter
from vlm_parity.session.references import ReferenceProvider, build_reference_settings
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.error_origin import describe_harness_error
from vlm_parity.util.errors import ParityError

CLEAN_CASES = ("one_image", "two_images", "several_turns", "text_only")
"""The cases of the clean controls of every engine, besides those of its faults."""
SKIPPED_MODELS = {("lmdeploy", "qwen2_vl")}
"""Engine and model pairs without a matching image: faults are injected behind the difference only."""
QUICK_MODELS = ("qwen2_5_vl",)
OTHER_IMAGE_CASES = 4
"""The number of cases with other images for each engine."""


@dataclass(frozen=True)
class SelfcheckPlan:
    """The engines and faults to check."""

    backend: str
    dtypes: tuple[Dtype, ...]
    models: tuple[str, ...] = ()
    """Families; if empty, all those that a fault names."""
    pattern: str = "*"
    """A shell pattern for the names of faults."""
    modes: bool = True
    """True to load engines again for each mode that a fault needs."""
    device: Device = "cpu"
    load_timeout: float = 900.0
    case_timeout: float = 300.0


@dataclass(frozen=True)
class EngineRun:
    """One engine load: a model in a dtype and a mode, with the faults to inject."""

    model: str
    dtype: Dtype
    mode: str
    faults: tuple[Fault, ...]
    second_faults: tuple[tuple[Fault, DifferingCase], ...] = ()
    """Faults behind a difference that the engine has anyway, each with the case."""
    module_faults: tuple[ModuleFault, ...] = ()
    """Faults in one module, to be located."""

    @property
    def title(self) -> str:
        """The name of the load in progress messages."""
        mode = "" if self.mode == DEFAULT_MODE else f" {self.mode}"
        return f"{self.model} {self.dtype}{mode}"


class Selfcheck:
    """Runs the engine loads of a plan one after the other and keeps all results so far."""

    def __init__(
        self, plan: SelfcheckPlan, cases: Mapping[str, Case], folder: Path, reporter: ProgressReporter
    ) -> None:
        self._plan, self._cases, self._folder, self._reporter = plan, cases, folder, reporter
        self._shard = ShardWriter(folder, "parity selfcheck", {})
        self._effects: Effects = {}
        self._default_verdicts: dict[tuple[str, str, str], Verdict] = {}
        self._faults: list[FaultRow] = []
        self._controls: list[ControlRow] = []
        self._modules: list[ModuleRow] = []
        self._problems: list[str] = []
        self._start = time.monotonic()

    def run(self) -> Iterator[SelfcheckRecord]:
        """Yield the record after every engine load; the last one is complete."""
        runs = list(list_engine_runs(self._plan))
        yield self._build_record(len(runs), 0)
        for finished, run in enumerate(runs, 1):
            try:
                self._check_engine(run)
            except Exception as error:  # the other engines are checked
                traceback.print_exc()
                reason = str(error) if isinstance(error, ParityError) else describe_harness_error(error)
                self._problems.append(f"{self._plan.backend} {run.title}: {reason}")
            yield self._build_record(len(runs), finished)

    def _build_record(self, expected: int, finished: int) -> SelfcheckRecord:
        backend = load_backend_class(self._plan.backend)
        return SelfcheckRecord(
            faults=tuple(self._faults),
            controls=tuple(self._controls),
            modules=tuple(self._modules),
            clean_comparisons=sum(row.comparisons for row in self._controls),
            false_alarms=sum(row.false_alarms for row in self._controls),
            expected_engines=expected,
            finished_engines=finished,
            problems=tuple(self._problems),
            packages=describe_environment(backend, Settings()).packages,
            seconds=time.monotonic() - self._start,
        )

    def _check_engine(self, run: EngineRun) -> None:
        settings = Settings(device=self._plan.device, dtype=run.dtype, mode=run.mode)
        checkpoint = resolve_model(run.model, weights=True, report=self._reporter.report)
        cases = self._selected_cases(run)
        other_images = [
            _replace_images(self._cases["two_images"], seed) for seed in range(1, OTHER_IMAGE_CASES + 1)
        ]
        plan = self._build_reference_plan(settings)
        provider = ReferenceProvider(plan, self._shard, self._reporter)
        differing = [self._cases[name] for name in dict.fromkeys(case.name for _, case in run.second_faults)]
        wanted = {case.name: case for case in (*cases, *other_images, *differing)}
        references = provider.provide(checkpoint, list(wanted.values()))
        folder = self._folder / "traces" / checkpoint.name / f"{run.dtype}-{run.mode}"
        captures = sum(len(fault.cases) for fault in run.faults) + len(run.second_faults)
        captures += len(run.module_faults)
        log = self._shard.get_log_path(checkpoint.name, f"{self._plan.backend}-{run.dtype}-{run.mode}")
        with (
            provider.hold(),
            self._reporter.track_capture(f"{self._plan.backend} {run.title}", captures) as progress,
            acquire_device_lock(settings.device),
            start_engine_process(log, plan.get_environment_variables(checkpoint)) as process,
        ):
            response = process.load(
                LoadRequest.of(self._plan.backend, checkpoint, settings), self._plan.load_timeout
            )
            progress.report_load(response.seconds)
            if response.outcome is not Outcome.CAPTURED:
                self._problems.append(f"{self._plan.backend} {run.title}: did not load: {response.message}")
                return
            check = EngineSelfcheck(
                process,
                references,
                folder,
                run.dtype,
                run.mode,
                self._effects,
                self._plan.case_timeout,
                self._default_verdicts,
            )
            try:
                self._run_checks(check, run, cases, other_images, progress)
            finally:
                self._faults += check.faults
                self._controls += check.controls
                self._problems += check.problems
            if run.module_faults:
                self._locate_faults(process, plan, checkpoint, references, run, progress)
        shutil.rmtree(folder, ignore_errors=True)

    def _locate_faults(
        self,
        process: EngineProcess,
        plan: Plan,
        checkpoint: Checkpoint,
        references: Mapping[str, StoredTrace],
        run: EngineRun,
        progress: CaptureProgress,
    ) -> None:
        """Locate faults of single modules, with the reference loaded beside the engine."""
        log = self._shard.get_log_path(checkpoint.name, "reference-modules")
        settings = build_reference_settings(plan, checkpoint)
        with start_engine_process(log, plan.get_environment_variables(checkpoint)) as reference_process:
            response = reference_process.load(
                LoadRequest.of(REFERENCE_BACKEND, checkpoint, settings), self._plan.load_timeout
            )
            if response.outcome is not Outcome.CAPTURED:
                self._problems.append(f"{run.title}: the reference did not load: {response.message}")
                return
            check = ModuleSelfcheck(
                process,
                reference_process,
                references,
                self._folder / "traces" / "modules",
                self._plan.case_timeout,
                self._plan.backend,
                run.model,
            )
            for fault in run.module_faults:
                case = self._cases[MODULE_FAULT_CASES[self._plan.backend][run.model]]
                row = check.check(fault, case)
                progress.report_result(f"{fault.name}, modules", _format_module_row(row))
            self._modules += check.rows
            self._problems += check.problems

    def _run_checks(
        self,
        check: EngineSelfcheck,
        run: EngineRun,
        cases: list[Case],
        other_images: list[Case],
        progress: CaptureProgress,
    ) -> None:
        if run.faults:
            check.check_baseline(cases)
        for fault in run.faults:
            for name in fault.cases:
                row = check.check_fault(fault, self._cases[name])
                progress.report_result(f"{fault.name} on {name}", _format_row(row))
        for fault, differing in run.second_faults:
            row = check.check_second_fault(fault, self._cases[differing.name], differing.stage)
            progress.report_result(f"{fault.name} behind {row.behind} on {row.case}", _format_row(row))
        # Again after the faults: one that was not removed would be a false alarm.
        for differing in dict.fromkeys(differing for _, differing in run.second_faults):
            check.check_differing(self._cases[differing.name], differing.stage)
        if not run.faults:
            return
        for name in (REPEAT_CONTROL, *(control.name for control in CLEAN_CONTROLS)):
            check.check_control(name, cases)
        check.check_other_images(other_images)

    def _selected_cases(self, run: EngineRun) -> list[Case]:
        names = [*CLEAN_CASES, *(name for fault in run.faults for name in fault.cases)]
        return [self._cases[name] for name in dict.fromkeys(names)]

    def _build_reference_plan(self, settings: Settings) -> Plan:
        return Plan(
            settings=replace(settings, mode=DEFAULT_MODE),
            dtype=settings.dtype,
            reference_dtype=None,
            folder=self._folder,
            command="parity selfcheck",
            reproduce="parity selfcheck",
            load_timeout=self._plan.load_timeout,
            case_timeout=self._plan.case_timeout,
        )


def list_engine_runs(plan: SelfcheckPlan) -> Iterator[EngineRun]:
    """Yield the engine loads that a plan needs, all of one dtype before the next."""
    selected = tuple(
        fault for fault in FAULTS if plan.backend in fault.injectors and fnmatchcase(fault.name, plan.pattern)
    )
    for dtype in plan.dtypes:
        groups: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in selected:
            if not plan.modes and fault.mode != DEFAULT_MODE:
                continue
            for model in fault.models:
                if (plan.backend, model) not in SKIPPED_MODELS:
                    groups[model, fault.mode].append(fault)
        second = {
            model: list_second_faults(selected, backend, model, dtype)
            for backend, model in DIFFERING_CASES
            if backend == plan.backend
        }

        def order(group: tuple[str, str]) -> tuple[str, bool, str]:
            # The cause of a difference in another mode depends on the clean verdict of the default mode.
            model, mode = group
            return model, mode != DEFAULT_MODE, mode

        module_faults = _select_module_faults(plan) if dtype == STRICT_DTYPE else {}
        loads = {*groups, *((model, DEFAULT_MODE) for model, faults in second.items() if faults)}
        loads |= {(model, DEFAULT_MODE) for model in module_faults}
        for model, mode in sorted(loads, key=order):
            if not plan.models or model in plan.models:
                behind = second.get(model, ()) if mode == DEFAULT_MODE else ()
                located = module_faults.get(model, ()) if mode == DEFAULT_MODE else ()
                yield EngineRun(model, dtype, mode, tuple(groups[model, mode]), behind, located)


def _select_module_faults(plan: SelfcheckPlan) -> Mapping[str, tuple[ModuleFault, ...]]:
    """Return the faults of modules to locate, by family."""
    selected = [fault for fault in MODULE_FAULTS if fnmatchcase(fault.name, plan.pattern)]
    by_model = {
        model: select_module_faults(selected, case)
        for model, case in MODULE_FAULT_CASES[plan.backend].items()
    }
    return {model: faults for model, faults in by_model.items() if faults}


def _replace_images(case: Case, seed: int) -> Case:
    """Return the same conversation with images of other seeds."""
    messages = []
    for message in case.messages:
        parts = tuple(
            part.model_copy(
                update={"image": part.image.model_copy(update={"seed": part.image.seed + 100 * seed})}
            )
            if isinstance(part, ImagePart) and isinstance(part.image, ImageRecipe)
            else part
            for part in message.parts
        )
        messages.append(message.model_copy(update={"content": parts}))
    return case.model_copy(update={"name": f"{case.name}_{seed}", "messages": tuple(messages)})


def _format_module_row(row: ModuleRow | None) -> str:
    if row is None:
        return "not compared"
    named = ", ".join(row.named) or "no module"
    return f"named: {row.cause}" if row.passes else f"NOT NAMED: {named}"


def _format_row(row: FaultRow) -> str:
    if not row.visible:
        return "not visible"
    if not row.detected:
        return "NOT DETECTED"
    stage = f"at {row.stage}" + ("" if row.is_stage_correct else f" instead of {row.expected_stage}")
    return f"found {stage}: {row.graded_cause}"
