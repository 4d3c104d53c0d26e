"""Two warm front ends side by side: the reference's and the engine's, each in a child of its own."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.capture.environment import describe_environment
from vlm_parity.capture.process import EngineProcess
from vlm_parity.capture.protocol import CaptureRequest, InjectedFault, LoadRequest, Response
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Depth, Outcome, Trace, read_trace
from vlm_parity.util.errors import ParityError, WorkerDiedError

MAX_PROMPT_TOKENS = 32768
"""Tokens: longer than what is drawn."""

_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
"""Of the children: for small media, threads cost several times what they save."""


class FrontendLoadError(ParityError):
    """A front end could not be loaded; the message says why."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class FrontendTrace:
    """One side's trace of a case, and the folder with its arrays."""

    trace: Trace
    folder: Path


def build_settings(checkpoint: Checkpoint, chosen: Settings) -> Settings:
    """How the front ends of a model are run: as engines are otherwise, but at the depth ``tokens``, and for
    prompts as long as the model takes.
    """
    config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    known = config.get("text_config", config.get("thinker_config", config).get("text_config", config))
    longest = min(MAX_PROMPT_TOKENS, known.get("max_position_embeddings", MAX_PROMPT_TOKENS))
    return replace(chosen, depth=Depth.TOKENS, max_length=longest)


class Frontend:
    """One front end, in a new child wherever one died."""

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
        """How often a child was started."""
        self.load_seconds = 0.0
        self._checkpoint, self._log = checkpoint, log
        self._load_timeout, self._case_timeout = load_timeout, case_timeout
        self._process: EngineProcess | None = None
        self._asked: CaptureRequest | None = None
        self._crash: WorkerDiedError | None = None

    def load(self) -> None:
        """Starts a child, if there is none.

        Raises:
            FrontendLoadError: it did not load.
        """
        if self._process is not None:
            return
        start = time.perf_counter()
        self.loads += 1
        process = EngineProcess(self._log, _ENVIRONMENT)
        try:
            opened = LoadRequest.of(self.backend, self._checkpoint, self.settings)
            reply = process.load(opened, self._load_timeout)
        except WorkerDiedError as death:
            process.kill()
            raise FrontendLoadError(Outcome.CRASH, f"while loading: {death}") from death
        except BaseException:
            process.kill()
            raise
        self.load_seconds += time.perf_counter() - start
        if reply.outcome is not Outcome.CAPTURED:
            process.close()
            raise FrontendLoadError(reply.outcome, reply.message)
        self._process = process

    def send(self, ask: CaptureRequest) -> None:
        """Has the side begin with a case; ``answer`` gives what comes of it.

        Raises:
            FrontendLoadError: a new child was needed, and did not load.
        """
        self.load()
        assert self._process is not None
        self._asked, self._crash = ask, None
        try:
            self._process.send(ask)
        except WorkerDiedError as death:
            self._crash = death

    def answer(self) -> FrontendTrace:
        """The trace of the case that was sent: of a child that died or hung, one that says so."""
        assert self._asked is not None
        assert self._process is not None
        ask, process = self._asked, self._process
        try:
            if self._crash is not None:
                raise self._crash
            reply = process.receive(self._case_timeout)
        except WorkerDiedError as death:
            self._kill_process()
            return self._build_crash_trace(ask, str(death))
        trace = read_trace(ask.folder)
        if reply.outcome is Outcome.CRASH:
            trace = self._add_output_tail(trace, reply, process)
            trace.write(ask.folder)
            self._kill_process()
        return FrontendTrace(trace, ask.folder)

    def close(self) -> None:
        """Ends the child."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def kill(self) -> None:
        """Ends the child at once."""
        if self._process is not None:
            self._kill_process()

    def _kill_process(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process = None

    def _add_output_tail(self, trace: Trace, reply: Response, process: EngineProcess) -> Trace:
        return trace.model_copy(update={"message": reply.message + process.read_output_tail()})

    def _build_crash_trace(self, ask: CaptureRequest, message: str) -> FrontendTrace:
        trace = Trace(
            case=ask.case.name,
            case_digest=ask.case.digest(),
            model=self._checkpoint.name,
            backend=self.backend,
            depth=Depth.TOKENS,
            environment=describe_environment(load_backend_class(self.backend), self.settings),
            outcome=Outcome.CRASH,
            message=message,
        )
        trace.write(ask.folder)
        return FrontendTrace(trace, ask.folder)


class FrontendPair:
    """The reference and the engine, asked at the same time; of the traces, the latest are kept."""

    def __init__(
        self, reference: Frontend, tested: Frontend, scratch: Path, fault: InjectedFault | None = None
    ) -> None:
        """Args:
        reference: native transformers.
        tested: the engine.
        scratch: an empty folder.
        fault: the change to the engine under which it runs, if any.
        """
        self.reference, self.tested = reference, tested
        self.supports_batched_chat = load_backend_class(tested.backend).supports_batched_chat
        self._scratch, self._fault, self._number = scratch, fault, count()
        self._folders: list[Path] = []

    def load(self) -> None:
        """Starts both children.

        Raises:
            FrontendLoadError: one did not load.
        """
        self.tested.load()
        self.reference.load()

    def capture_both(self, case: Case) -> tuple[FrontendTrace, FrontendTrace]:
        """What the reference and the engine make of a case; the answers before are thrown away."""
        for folder in self._folders:
            shutil.rmtree(folder)
        self._folders = []
        self.tested.send(self._ask(case, self._fault))
        self.reference.send(self._ask(case, None))
        tested = self.tested.answer()
        return self.reference.answer(), tested

    def capture_again(self, case: Case, batch_with: tuple[Case, ...] = ()) -> FrontendTrace:
        """What the engine makes of a case now, with others in the same call."""
        self.tested.send(self._ask(case, self._fault, batch_with))
        return self.tested.answer()

    def _ask(
        self, case: Case, fault: InjectedFault | None, batch_with: tuple[Case, ...] = ()
    ) -> CaptureRequest:
        folder = self._scratch / str(next(self._number))
        self._folders.append(folder)
        return CaptureRequest(
            case=case, case_folder=case.folder, folder=folder, fault=fault, batch_with=batch_with
        )

    def close(self) -> None:
        """Ends both children."""
        self.tested.close()
        self.reference.close()

    def kill(self) -> None:
        """Ends both children at once."""
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
    """Both front ends, loaded; gone when the block ends.

    Args:
        backend: under test.
        checkpoint: of the model.
        settings: of both, but for what the user tells the engine's constructor.
        logs: where the reference's and the engine's output goes.
        scratch: an empty folder for the traces.
        timeouts: seconds that a load, and a case, may take.
        fault: the change to the engine under which it runs, if any.

    Raises:
        FrontendLoadError: one did not load.
    """
    plain = replace(settings, engine_args={})
    front = FrontendPair(
        Frontend(REFERENCE_BACKEND, checkpoint, plain, logs[0], *timeouts),
        Frontend(backend, checkpoint, settings, logs[1], *timeouts),
        scratch,
        fault,
    )
    try:
        front.load()
        yield front
    except BaseException:
        front.kill()
        raise
    front.close()
