"""The parent's side of an engine's child process: start, request, watch, end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from pathlib import Path

from vlm_parity.capture.protocol import CaptureRequest, LoadRequest, LocateRequest, Response
from vlm_parity.schema.record import Record
from vlm_parity.util.child_process import ChildProcess
from vlm_parity.util.errors import WorkerDiedError

SINGLE_THREADED = {"OMP_NUM_THREADS": "1"}
"""Variables of children with tiny models or small media, for which threads cost more than they save."""
_TAIL_LINES = 20
_POLL_INTERVAL_S = 0.5  # between two checks that the child is alive
_EXIT_GRACE_S = 30.0  # for an engine to free its memory before it is killed


class EngineProcess:
    """One engine under supervision, so that everything that it started ends with it and with this process."""

    def __init__(self, log: Path, variables: Mapping[str, str] | None = None) -> None:
        """Start the child.

        Args:
            log: file to which its output is appended.
            variables: environment variables that apply unless this process has set them.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._connection, child_end = Pipe()
        with child_end, log.open("ab") as output:
            self._log_start = output.tell()  # earlier output is another child's
            self._process = ChildProcess(
                [sys.executable, "-m", "vlm_parity.capture.worker", str(child_end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(child_end.fileno(),),
                env={
                    **(variables or {}),
                    **os.environ,
                    "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the log
                    "PYTHONUNBUFFERED": "1",
                    "TOKENIZERS_PARALLELISM": "false",
                },
            )

    @property
    def pid(self) -> int:
        """The process id of the child's supervisor."""
        return self._process.pid

    def load(self, request: LoadRequest, timeout: float) -> Response:
        """Load the engine.

        Args:
            request: the backend, the model and the settings.
            timeout: seconds.

        Raises:
            WorkerDiedError: the child ended, or took longer than ``timeout``.
        """
        return self._call(request, timeout)

    def capture(self, request: CaptureRequest, timeout: float) -> Response:
        """Capture one case. Raises ``WorkerDiedError`` as ``load`` does."""
        return self._call(request, timeout)

    def locate(self, request: LocateRequest, timeout: float) -> Response:
        """Compare modules on one case. Raises ``WorkerDiedError`` as ``load`` does."""
        return self._call(request, timeout)

    def _call(self, request: Record, timeout: float) -> Response:
        self.send(request)
        return self.receive(timeout)

    def send(self, request: Record) -> None:
        """Send a request without waiting; ``receive`` returns its response.

        Raises:
            WorkerDiedError: the child has ended.
        """
        try:
            self._connection.send_bytes(request.model_dump_json().encode())
        except ConnectionError:
            raise WorkerDiedError(self._describe_exit()) from None

    def receive(self, timeout: float) -> Response:
        """Wait for the response to the last request. Raises ``WorkerDiedError`` as ``load`` does."""
        deadline = time.monotonic() + timeout
        try:
            while not self._connection.poll(_POLL_INTERVAL_S):
                # A fork of a dead child can keep its end of the connection open.
                if self._process.poll() is not None:
                    raise WorkerDiedError(self._describe_exit())
                if time.monotonic() > deadline:
                    raise WorkerDiedError(f"no answer within {timeout:g} s{self.read_output_tail()}")
            return Response.model_validate_json(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise WorkerDiedError(self._describe_exit()) from None

    def _describe_exit(self) -> str:
        try:
            code = self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            return f"the process closed its channel and went on{self.read_output_tail()}"
        event = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"the process {event}{self.read_output_tail()}"

    def read_output_tail(self) -> str:
        """Return the last lines of the child's output, as the end of a sentence."""
        output = self._log.read_bytes()[self._log_start :].decode(errors="replace")
        lines = output.splitlines()[-_TAIL_LINES:]
        return "; its last lines:\n" + "\n".join(lines) if lines else "; it printed nothing"

    def close(self) -> None:
        """Let the engine end by itself; kill it if it does not end in time."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):  # it is killed below
            self._process.wait(_EXIT_GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


@contextmanager
def start_engine_process(log: Path, variables: Mapping[str, str] | None = None) -> Iterator[EngineProcess]:
    """Start a child for the duration of a block: it is closed at a normal end, killed at an exception.

    The arguments are those of ``EngineProcess``.
    """
    process = EngineProcess(log, variables)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    process.close()
