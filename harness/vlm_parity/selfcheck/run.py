"""The self-check of one environment: every engine, every fault, every control."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vlm_parity.backends.base import Device, Dtype, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.process import start_engine_process
from vlm_parity.capture.protocol import LoadRequest
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.case import Case, ImagePart
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict
from vlm_parity.selfcheck.controls import CLEAN_CONTROLS
from vlm_parity.selfcheck.engine import REPEAT_CONTROL, Effects, EngineSelfcheck
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.record import CleanRow, FaultRow, SelfcheckRecord
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import CaptureProgress, ProgressReporter
from vlm_parity.session.references import ReferenceProvider
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.errors import WorkerDiedError

CLEAN_CASES = ("one_image", "two_images", "several_turns", "text_only")
"""What every engine is asked under the clean controls, besides the cases of its faults."""
SKIPPED_MODELS = {("lmdeploy", "qwen2_vl")}
"""Engines that differ without any fault, see docs/findings.md: nothing could be told from them."""
QUICK_MODELS = ("qwen2_5_vl",)
IMAGE_CASES = 4
"""How many other pictures each engine is shown."""


@dataclass(frozen=True)
class SelfcheckPlan:
    """What is to be checked."""

    backend: str
    dtypes: tuple[Dtype, ...]
    models: tuple[str, ...] = ()
    """Families; all that a fault names if none are given."""
    pattern: str = "*"
    """Of the names of faults."""
    modes: bool = True
    """Whether engines are loaded again for each of their modes."""
    device: Device = "cpu"
    load_timeout: float = 900.0
    case_timeout: float = 300.0


@dataclass(frozen=True)
class EngineRun:
    """One engine load: a model in a dtype and a mode, with the faults that are planted in it."""

    model: str
    dtype: Dtype
    mode: str
    faults: tuple[Fault, ...]

    @property
    def title(self) -> str:
        """As it stands before each line of progress."""
        mode = "" if self.mode == DEFAULT_MODE else f" {self.mode}"
        return f"{self.model} {self.dtype}{mode}"


class Selfcheck:
    """Runs the rounds of a scope, one engine at a time; what was found so far is never lost."""

    def __init__(
        self, scope: SelfcheckPlan, cases: Mapping[str, Case], folder: Path, reporter: ProgressReporter
    ) -> None:
        self._scope, self._cases, self._folder, self._reporter = scope, cases, folder, reporter
        self._part = ShardWriter(folder, "parity selfcheck", {})
        self._effects: Effects = {}
        self._alone: dict[tuple[str, str, str], Verdict] = {}
        self._faults: list[FaultRow] = []
        self._clean: list[CleanRow] = []
        self._problems: list[str] = []
        self._start = time.monotonic()

    def run(self) -> Iterator[SelfcheckRecord]:
        """Yields what is known after every engine; the last is the whole."""
        rounds = list(list_engine_runs(self._scope))
        yield self._build_result(len(rounds), 0)
        for done, one in enumerate(rounds, 1):
            try:
                self._round(one)
            except WorkerDiedError as death:
                self._problems.append(f"{self._scope.backend} {one.title}: {death}")
            yield self._build_result(len(rounds), done)

    def _build_result(self, expected: int, finished: int) -> SelfcheckRecord:
        kind = load_backend_class(self._scope.backend)
        return SelfcheckRecord(
            faults=tuple(self._faults),
            clean=tuple(self._clean),
            clean_comparisons=sum(row.comparisons for row in self._clean),
            false_alarms=sum(row.false_alarms for row in self._clean),
            expected_engines=expected,
            finished_engines=finished,
            problems=tuple(self._problems),
            packages=describe_environment(kind, Settings()).packages,
            seconds=time.monotonic() - self._start,
        )

    def _round(self, one: EngineRun) -> None:
        settings = Settings(device=self._scope.device, dtype=one.dtype, mode=one.mode)
        checkpoint = resolve_model(one.model, weights=True)
        cases = self._selected_cases(one)
        pictures = [_replace_images(self._cases["two_images"], seed) for seed in range(1, IMAGE_CASES + 1)]
        references = self._references(checkpoint, settings, [*cases, *pictures])
        folder = self._folder / "traces" / checkpoint.name / f"{one.dtype}-{one.mode}"
        planted = sum(len(fault.cases) for fault in one.faults)
        log = self._part.get_log_path(checkpoint.name, f"{self._scope.backend}-{one.dtype}-{one.mode}")
        with (
            self._reporter.track_capture(f"{self._scope.backend} {one.title}", planted) as progress,
            acquire_device_lock(settings.device),
            start_engine_process(log) as process,
        ):
            reply = process.load(
                LoadRequest.of(self._scope.backend, checkpoint, settings), self._scope.load_timeout
            )
            progress.report_load(reply.seconds)
            if reply.outcome is not Outcome.CAPTURED:
                self._problems.append(f"{self._scope.backend} {one.title}: did not load: {reply.message}")
                return
            check = EngineSelfcheck(
                process,
                references,
                folder,
                one.dtype,
                one.mode,
                self._effects,
                self._scope.case_timeout,
                self._alone,
            )
            try:
                self._ask(check, one, cases, pictures, progress)
            finally:
                self._faults += check.faults
                self._clean += check.clean
        shutil.rmtree(folder)

    def _ask(
        self,
        check: EngineSelfcheck,
        one: EngineRun,
        cases: list[Case],
        pictures: list[Case],
        progress: CaptureProgress,
    ) -> None:
        check.baseline(cases)
        for fault in one.faults:
            for name in fault.cases:
                row = check.fault(fault, self._cases[name])
                progress.report_result(f"{fault.name} on {name}", _format_row(row))
        for name in (REPEAT_CONTROL, *(control.name for control in CLEAN_CONTROLS)):
            check.control(name, cases)
        check.other_pictures(pictures)

    def _selected_cases(self, one: EngineRun) -> list[Case]:
        names = [*CLEAN_CASES, *(name for fault in one.faults for name in fault.cases)]
        return [self._cases[name] for name in dict.fromkeys(names)]

    def _references(
        self, checkpoint: Checkpoint, settings: Settings, cases: Iterable[Case]
    ) -> dict[str, StoredTrace]:
        plan = Plan(
            settings=replace(settings, mode=DEFAULT_MODE),
            dtype=settings.dtype,
            reference_dtype=None,
            folder=self._folder,
            command="parity selfcheck",
            reproduce="parity selfcheck",
            load_timeout=self._scope.load_timeout,
            case_timeout=self._scope.case_timeout,
        )
        return ReferenceProvider(plan, self._part, self._reporter).provide(checkpoint, cases)


def list_engine_runs(scope: SelfcheckPlan) -> Iterator[EngineRun]:
    """The engine loads that a scope needs: a dtype after the other, for float32 comes first."""
    chosen = [
        fault
        for fault in FAULTS
        if scope.backend in fault.injectors and fnmatchcase(fault.name, scope.pattern)
    ]
    for dtype in scope.dtypes:
        groups: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in chosen:
            for model in fault.models:
                wanted = not scope.models or model in scope.models
                wanted &= scope.modes or fault.mode == DEFAULT_MODE
                if wanted and (scope.backend, model) not in SKIPPED_MODELS:
                    groups[model, fault.mode].append(fault)
        for (model, mode), faults in sorted(groups.items()):
            yield EngineRun(model, dtype, mode, tuple(faults))


def _replace_images(case: Case, seed: int) -> Case:
    """The same conversation about pictures made from other seeds."""
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


def _format_row(row: FaultRow) -> str:
    if not row.visible:
        return "not visible"
    if not row.detected:
        return "NOT DETECTED"
    stage = f"at {row.stage}" + ("" if row.is_stage_correct else f" instead of {row.expected_stage}")
    cause = row.cause or "no cause named"
    return f"found {stage}: {cause}" + ("" if row.is_cause_correct else f" instead of {row.expected_cause}")
