"""Location of the modules that differ: recorded calls of an engine against the reference."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterable
from dataclasses import dataclass

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.capture.device_lock import acquire_device_lock
from vlm_parity.capture.process import start_engine_process
from vlm_parity.capture.protocol import LoadRequest, LocateRequest
from vlm_parity.capture.stored_trace import StoredTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.location import Location, read_location
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.session.plan import EngineLoad, Plan
from vlm_parity.session.progress import CaptureProgress, ProgressReporter
from vlm_parity.session.references import build_reference_settings
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.session.verdict_writer import VerdictWriter
from vlm_parity.util.error_origin import describe_harness_error
from vlm_parity.util.errors import ParityError, WorkerDiedError


@dataclass(frozen=True)
class RecordedCase:
    """A case whose module calls an engine has recorded, or failed to."""

    load: EngineLoad
    case: Case
    tested: StoredTrace
    """Of the pass; its folder holds the calls, too."""
    condition: Condition | None
    stages: tuple[Stage, ...]
    """The stages whose differences are to be located."""
    continuation: tuple[int, ...]
    """Ids to follow; a step is compared for each but the last."""


class ModuleLocator:
    """Compares recorded modules with the reference, loaded once for all cases of a model."""

    def __init__(
        self, plan: Plan, shard: ShardWriter, reporter: ProgressReporter, verdicts: VerdictWriter
    ) -> None:
        self._plan, self._shard, self._reporter, self._verdicts = plan, shard, reporter, verdicts

    def locate(self, checkpoint: Checkpoint, recorded: Iterable[RecordedCase]) -> None:
        """Add a location to the verdict of every recorded case, and delete the recordings."""
        complete = []
        for each in recorded:
            if each.tested.trace.outcome is Outcome.CAPTURED:
                complete.append(each)
            else:
                self._write(each, Location(problem=each.tested.trace.message or each.tested.trace.outcome))
        if complete:
            with self._shard.clock.measure(f"{checkpoint.name}/locate"):
                self._compare(checkpoint, complete)

    def _compare(self, checkpoint: Checkpoint, recorded: list[RecordedCase]) -> None:
        pending = list(recorded)
        with self._reporter.track_capture(f"{checkpoint.name} modules", len(pending)) as progress:
            while pending:
                try:
                    self._run_child(checkpoint, pending, progress)
                except WorkerDiedError as error:  # the others are tried by another child
                    self._write(pending.pop(0), Location(problem=str(error)))
                except Exception as error:
                    traceback.print_exc()
                    problem = str(error) if isinstance(error, ParityError) else describe_harness_error(error)
                    self._write(pending.pop(0), Location(problem=problem))

    def _run_child(
        self, checkpoint: Checkpoint, pending: list[RecordedCase], progress: CaptureProgress
    ) -> None:
        """Remove cases from the list as they are located, until it is empty or the child has ended."""
        settings = build_reference_settings(self._plan, checkpoint)
        log = self._shard.get_log_path(checkpoint.name, "reference-modules")
        with (
            acquire_device_lock(settings.device),
            start_engine_process(log, self._plan.get_environment_variables(checkpoint)) as process,
        ):
            request = LoadRequest.of(REFERENCE_BACKEND, checkpoint, settings)
            response = process.load(request, self._plan.load_timeout)
            progress.report_load(response.seconds)
            while pending and response.outcome is Outcome.CAPTURED:
                each = pending[0]
                request_each = _build_request(each, self._plan.locate_within[0])
                found = process.locate(request_each, self._plan.case_timeout)
                location = (
                    read_location(each.tested.folder)
                    if found.outcome is Outcome.CAPTURED
                    else Location(problem=found.message)
                )
                self._write(pending.pop(0), location)
                progress.report_result(each.case.name, format_location(location))
            while pending:
                problem = f"the reference did not load: {response.message}"
                self._write(pending.pop(0), Location(problem=problem))

    @staticmethod
    def discard(recorded: Iterable[RecordedCase]) -> None:
        """Delete recordings that are not compared."""
        for each in recorded:
            shutil.rmtree(each.tested.folder, ignore_errors=True)

    def _write(self, each: RecordedCase, location: Location) -> None:
        located = location.model_copy(update={"stages": each.stages, "condition": each.condition})
        self._verdicts.write_location(each.load, each.case.name, located)
        self.discard([each])


def _build_request(each: RecordedCase, within: str) -> LocateRequest:
    return LocateRequest(
        case=each.case,
        case_folder=each.case.folder,
        media_roots=each.case.media_roots,
        modules=each.tested.folder,
        continuation=each.continuation,
        within=within,
    )


def format_location(location: Location) -> str:
    """Return a location for a progress line."""
    if location.problem:
        return f"not located: {location.problem}"
    if not location.differences:
        return f"no module differs: {location.agreeing} of {location.values} values agree"
    first = location.differences[0]
    more = len(location.differences) - 1
    return f"{first.module}, {first.point}" + (f", and {more} more" if more else "")
