"""The front ends of the reference and the engine, loaded in child processes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.failure import Failure, build_failed_trace, read_captured
from vlm_parity.capture.process import SINGLE_THREADED, EngineProcess
from vlm_parity.capture.protocol import CaptureRequest, InjectedFault, LoadRequest
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Trace
from vlm_parity.util.errors import ParityError, WorkerDiedError

MAX_PROMPT_TOKENS = 32768
"""Tokens; drawn cases are shorter."""


class FrontendLoadError(ParityError):
    """A front end could not be loaded.

    Args:
        outcome: of the load.
        message: the reason.
    """

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class FrontendTrace:
    """The trace of a case on one side, and the folder with its arrays."""

    trace: Trace
    folder: Path


def build_settings(checkpoint: Checkpoint, settings: Settings) -> Settings:
    """Return the settings of the front ends: depth ``tokens``, and the maximum prompt length of the model."""
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    text_config = config.get("text_config", config.get("thinker_config", config).get("text_config", config))
    max_length = min(MAX_PROMPT_TOKENS, text_config.get("max_position_embeddings", MAX_PROMPT_TOKENS))
    return replace(settings, depth=Depth.TOKENS, max_length=max_length)


class Frontend:
    """One front end, restarted in a new child after each crash.

    Args:
        backend: its name.
        checkpoint: of the model.
        settings: of the backend.
        log: file for the output of the children.
        load_timeout: seconds.
        case_timeout: seconds.
    """

    def __init__(
        self,
        backend: str,
        checkpoint: Checkpoint,
        settings: Settings,
        log: Path,
        load_timeout: float,
        case_timeout: float,
    ) -> None:
        self.backend, self.settings = backend, settings
        self.loads = 0
        """The number of children started."""
        self.load_seconds = 0.0
        self._checkpoint, self._log = checkpoint, log
        self._load_timeout, self._case_timeout = load_timeout, case_timeout
        self._process: EngineProcess | None = None
        self._request: CaptureRequest | None = None
        self._crash: WorkerDiedError | None = None

    def load(self) -> None:
        """Start a child if there is none.

        Raises:
            FrontendLoadError: it did not load.
        """
        if self._process is not None:
            return
        start = time.perf_counter()
        self.loads += 1
        process = EngineProcess(self._log, SINGLE_THREADED)
        try:
            request = LoadRequest.of(self.backend, self._checkpoint, self.settings)
            response = process.load(request, self._load_timeout)
        except WorkerDiedError as error:
            process.kill()
            raise FrontendLoadError(Outcome.CRASH, f"while loading: {error}") from error
        except BaseException:
            process.kill()
            raise
        self.load_seconds += time.perf_counter() - start
        if response.outcome is not Outcome.CAPTURED:
            process.close()
            raise FrontendLoadError(response.outcome, response.message)
        self._process = process

    def send(self, request: CaptureRequest) -> None:
        """Start capturing a case; ``receive`` returns its trace.

        Raises:
            FrontendLoadError: a new child was needed and did not load.
        """
        self.load()
        assert self._process is not None
        self._request, self._crash = request, None
        try:
            self._process.send(request)
        except WorkerDiedError as error:
            self._crash = error

    def receive(self) -> FrontendTrace:
        """Wait for the trace of the case; if the child crashed or timed out, the trace states it."""
        assert self._request is not None
        assert self._process is not None
        request, process = self._request, self._process
        try:
            if self._crash is not None:
                raise self._crash
            response = process.receive(self._case_timeout)
        except WorkerDiedError as error:
            self._kill_process()
            crash = self._build_failed_trace(request, Failure(Outcome.CRASH, str(error)))
            crash.write(request.folder)
            return FrontendTrace(crash, request.folder)
        trace = read_captured(request.folder, response, partial(self._build_failed_trace, request))
        if response.outcome is Outcome.CRASH:
            message = response.message + process.read_output_tail()
            trace = trace.model_copy(update={"message": message})
            trace.write(request.folder)
        if response.is_last:
            self._kill_process()
        return FrontendTrace(trace, request.folder)

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def kill(self) -> None:
        """Kill the child."""
        if self._process is not None:
            self._kill_process()

    def _kill_process(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process = None

    def _build_failed_trace(self, request: CaptureRequest, failure: Failure) -> Trace:
        return build_failed_trace(self.backend, self._checkpoint.name, self.settings, request.case, failure)


class FrontendPair:
    """The front ends of the reference and the engine, which run at the same time.

    Only the traces of the latest case are kept.

    Args:
        reference: native transformers.
        tested: the engine.
        scratch: an empty folder.
        fault: the change under which the engine runs, if any.
    """

    def __init__(
        self, reference: Frontend, tested: Frontend, scratch: Path, fault: InjectedFault | None = None
    ) -> None:
        self.reference, self.tested = reference, tested
        self.supports_batched_chat = load_backend_class(tested.backend).supports_batched_chat
        self._scratch, self._fault, self._number = scratch, fault, count()
        self._folders: list[Path] = []

    def load(self) -> None:
        """Start both children.

        Raises:
            FrontendLoadError: one did not load.
        """
        self.tested.load()
        self.reference.load()

    def capture_both(self, case: Case) -> tuple[FrontendTrace, FrontendTrace]:
        """Return the traces of the reference and the engine; those of the previous case are deleted."""
        for folder in self._folders:
            if folder.exists():  # not if its child did not load
                shutil.rmtree(folder)
        self._folders = []
        self.tested.send(self._build_request(case, self._fault))
        self.reference.send(self._build_request(case, None))
        tested = self.tested.receive()
        return self.reference.receive(), tested

    def capture_again(self, case: Case, batch_with: tuple[Case, ...] = ()) -> FrontendTrace:
        """Return another trace of the engine, with other cases in the same call."""
        self.tested.send(self._build_request(case, self._fault, batch_with))
        return self.tested.receive()

    def _build_request(
        self, case: Case, fault: InjectedFault | None, batch_with: tuple[Case, ...] = ()
    ) -> CaptureRequest:
        folder = self._scratch / str(next(self._number))
        self._folders.append(folder)
        return CaptureRequest(
            case=case, case_folder=case.folder, folder=folder, fault=fault, batch_with=batch_with
        )

    def close(self) -> None:
        """End both children."""
        self.tested.close()
        self.reference.close()

    def kill(self) -> None:
        """Kill both children."""
        self.tested.kill()
        self.reference.kill()


@contextmanager
def open_frontends(
    backend: str,
    checkpoint: Checkpoint,
    settings: Settings,
    logs: tuple[Path, Path],
    scratch: Path,
    timeouts: tuple[float, float],
    fault: InjectedFault | None = None,
) -> Iterator[FrontendPair]:
    """Load both front ends for the duration of a block.

    Args:
        backend: under test.
        checkpoint: of the model.
        settings: of both; the engine arguments apply to the engine only.
        logs: files for the output of the reference and of the engine.
        scratch: an empty folder for the traces.
        timeouts: seconds for a load and for a case.
        fault: the change to the engine under which it runs, if any.

    Raises:
        FrontendLoadError: one did not load.
    """
    plain = replace(settings, engine_args={})
    frontends = FrontendPair(
        Frontend(REFERENCE_BACKEND, checkpoint, plain, logs[0], *timeouts),
        Frontend(backend, checkpoint, settings, logs[1], *timeouts),
        scratch,
        fault,
    )
    try:
        frontends.load()
        yield frontends
    except BaseException:
        frontends.kill()
        raise
    frontends.close()
