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
from vlm_parity.backends.registry import backend_class
from vlm_parity.capture.device_lock import device_lock
from vlm_parity.capture.environment import environment
from vlm_parity.capture.process import engine_process
from vlm_parity.capture.protocol import Open
from vlm_parity.capture.stored_trace import Reference
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.resolve import resolve
from vlm_parity.schema.case import Case, ImagePart
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import Outcome
from vlm_parity.schema.verdict import Verdict
from vlm_parity.selfcheck.controls import CONTROLS
from vlm_parity.selfcheck.engine import AGAIN, Effects, EngineCheck
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.record import CleanRow, FaultRow, SelfCheck
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.session.part_writer import PartFolder
from vlm_parity.session.plan import Plan
from vlm_parity.session.progress import CaptureProgress, Reporter
from vlm_parity.session.references import References
from vlm_parity.util.errors import WorkerDiedError

CLEAN_CASES = ("one_image", "two_images", "several_turns", "text_only")
"""What every engine is asked under the clean controls, besides the cases of its faults."""
LEFT_OUT = {("lmdeploy", "qwen2_vl")}
"""Engines that differ without any fault, see docs/findings.md: nothing could be told from them."""
QUICK_MODELS = ("qwen2_5_vl",)
PICTURES = 4
"""How many other pictures each engine is shown."""


@dataclass(frozen=True)
class Scope:
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
class Round:
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


class Check:
    """Runs the rounds of a scope, one engine at a time; what was found so far is never lost."""

    def __init__(self, scope: Scope, cases: Mapping[str, Case], folder: Path, reporter: Reporter) -> None:
        self._scope, self._cases, self._folder, self._reporter = scope, cases, folder, reporter
        self._part = PartFolder(folder, "parity selfcheck", {})
        self._effects: Effects = {}
        self._alone: dict[tuple[str, str, str], Verdict] = {}
        self._faults: list[FaultRow] = []
        self._clean: list[CleanRow] = []
        self._problems: list[str] = []
        self._start = time.monotonic()

    def run(self) -> Iterator[SelfCheck]:
        """Yields what is known after every engine; the last is the whole."""
        rounds = list(rounds_of(self._scope))
        yield self._so_far(len(rounds), 0)
        for done, one in enumerate(rounds, 1):
            try:
                self._round(one)
            except WorkerDiedError as death:
                self._problems.append(f"{self._scope.backend} {one.title}: {death}")
            yield self._so_far(len(rounds), done)

    def _so_far(self, expected: int, finished: int) -> SelfCheck:
        kind = backend_class(self._scope.backend)
        return SelfCheck(
            faults=tuple(self._faults),
            clean=tuple(self._clean),
            clean_comparisons=sum(row.comparisons for row in self._clean),
            false_alarms=sum(row.false_alarms for row in self._clean),
            expected_engines=expected,
            finished_engines=finished,
            problems=tuple(self._problems),
            packages=environment(kind, Settings()).packages,
            seconds=time.monotonic() - self._start,
        )

    def _round(self, one: Round) -> None:
        settings = Settings(device=self._scope.device, dtype=one.dtype, mode=one.mode)
        checkpoint = resolve(one.model, weights=True)
        cases = self._asked(one)
        pictures = [_with_other_pictures(self._cases["two_images"], seed) for seed in range(1, PICTURES + 1)]
        references = self._references(checkpoint, settings, [*cases, *pictures])
        folder = self._folder / "traces" / checkpoint.name / f"{one.dtype}-{one.mode}"
        planted = sum(len(fault.cases) for fault in one.faults)
        log = self._part.log(checkpoint.name, f"{self._scope.backend}-{one.dtype}-{one.mode}")
        with (
            self._reporter.capturing(f"{self._scope.backend} {one.title}", planted) as progress,
            device_lock(settings.device),
            engine_process(log) as process,
        ):
            reply = process.open(Open.of(self._scope.backend, checkpoint, settings), self._scope.load_timeout)
            progress.loaded(reply.seconds)
            if reply.outcome is not Outcome.CAPTURED:
                self._problems.append(f"{self._scope.backend} {one.title}: did not load: {reply.message}")
                return
            check = EngineCheck(
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
        check: EngineCheck,
        one: Round,
        cases: list[Case],
        pictures: list[Case],
        progress: CaptureProgress,
    ) -> None:
        check.baseline(cases)
        for fault in one.faults:
            for name in fault.cases:
                row = check.fault(fault, self._cases[name])
                progress.captured(f"{fault.name} on {name}", _in_words(row))
        for name in (AGAIN, *(control.name for control in CONTROLS)):
            check.control(name, cases)
        check.other_pictures(pictures)

    def _asked(self, one: Round) -> list[Case]:
        names = [*CLEAN_CASES, *(name for fault in one.faults for name in fault.cases)]
        return [self._cases[name] for name in dict.fromkeys(names)]

    def _references(
        self, checkpoint: Checkpoint, settings: Settings, cases: Iterable[Case]
    ) -> dict[str, Reference]:
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
        return References(plan, self._part, self._reporter).of(checkpoint, cases)


def rounds_of(scope: Scope) -> Iterator[Round]:
    """The engine loads that a scope needs: a dtype after the other, for float32 comes first."""
    chosen = [
        fault
        for fault in FAULTS
        if scope.backend in fault.planters and fnmatchcase(fault.name, scope.pattern)
    ]
    for dtype in scope.dtypes:
        groups: dict[tuple[str, str], list[Fault]] = defaultdict(list)
        for fault in chosen:
            for model in fault.models:
                wanted = not scope.models or model in scope.models
                wanted &= scope.modes or fault.mode == DEFAULT_MODE
                if wanted and (scope.backend, model) not in LEFT_OUT:
                    groups[model, fault.mode].append(fault)
        for (model, mode), faults in sorted(groups.items()):
            yield Round(model, dtype, mode, tuple(faults))


def _with_other_pictures(case: Case, seed: int) -> Case:
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


def _in_words(row: FaultRow) -> str:
    if not row.visible:
        return "not visible"
    if not row.detected:
        return "NOT DETECTED"
    stage = f"at {row.stage}" + ("" if row.stage_right else f" instead of {row.expected_stage}")
    cause = row.cause or "no cause named"
    return f"found {stage}: {cause}" + ("" if row.cause_right else f" instead of {row.expected_cause}")
