"""The parent's side of an engine's child process: start, feed, watch, end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vlm_parity.capture.protocol import CaptureRequest, LoadRequest, Response
from vlm_parity.schema.record import Record
from vlm_parity.util.errors import WorkerDiedError

_TAIL_LINES = 20
_POLL_INTERVAL_S = 0.5  # seconds between two looks at whether the child still lives
_EXIT_GRACE_S = 30.0  # seconds for an engine to let its memory go before it is killed


class EngineProcess:
    """One engine in a process group of its own, so that it can be ended with all that it started."""

    def __init__(self, log: Path, variables: Mapping[str, str] | None = None) -> None:
        """Args:
        log: where its output goes; it is appended.
        variables: of its environment, where this process has none of the name.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        read_end, write_end = os.pipe()
        with log.open("ab") as output:
            self._begin = output.tell()  # what stands before is another child's
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vlm_parity.capture.worker", str(write_end)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(write_end,),
                start_new_session=True,
                env={
                    **(variables or {}),
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "TOKENIZERS_PARALLELISM": "false",
                },
            )
        os.close(write_end)
        self._replies = os.fdopen(read_end, "rb", buffering=0)
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def open(self, message: LoadRequest, timeout: float) -> Response:
        """Loads the engine. Raises ``WorkerDiedError`` when it dies or takes longer than ``timeout`` seconds."""
        return self._call(message, timeout)

    def ask(self, message: CaptureRequest, timeout: float) -> Response:
        """Captures one case. Raises ``WorkerDiedError`` as ``open`` does."""
        return self._call(message, timeout)

    def _call(self, message: Record, timeout: float) -> Response:
        self.send(message)
        return self.reply(timeout)

    def send(self, message: Record) -> None:
        """Has the child begin with a message; its answer is fetched by ``reply``.

        Raises:
            WorkerDiedError: it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDiedError(self._describe_exit()) from None

    def reply(self, timeout: float) -> Response:
        """Waits for the answer to the last message. Raises ``WorkerDiedError`` as ``open`` does."""
        return Response.model_validate_json(self._line(time.monotonic() + timeout, timeout))

    def _line(self, deadline: float, timeout: float) -> bytes:
        while b"\n" not in self._unread:
            if time.monotonic() > deadline:
                raise WorkerDiedError(f"no answer within {timeout:g} s{self.read_output_tail()}")
            if select.select([self._replies], [], [], _POLL_INTERVAL_S)[0]:
                piece = self._replies.read(65536)
                if not piece:
                    raise WorkerDiedError(self._describe_exit())
                self._unread += piece
            elif self._process.poll() is not None:
                raise WorkerDiedError(self._describe_exit())
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _describe_exit(self) -> str:
        try:
            code = self._process.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            return f"the process closed its channel and went on{self.read_output_tail()}"
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return (
            f"the process was {how}{self.read_output_tail()}"
            if code < 0
            else f"the process {how}{self.read_output_tail()}"
        )

    def read_output_tail(self) -> str:
        """The end of what the child printed, as the end of a sentence."""
        printed = self._log.read_bytes()[self._begin :].decode(errors="replace")
        lines = printed.splitlines()[-_TAIL_LINES:]
        return "; its last lines:\n" + "\n".join(lines) if lines else "; it printed nothing"

    def close(self) -> None:
        """Lets the engine end by itself, then kills what is left of it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):  # it is killed all the same
            self._process.stdin.close()
            self._process.wait(_EXIT_GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Ends the process and everything that it started."""
        with suppress(ProcessLookupError):  # the whole group has ended already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the child has not read all that it was sent
            self._process.stdin.close()
        self._replies.close()


@contextmanager
def start_engine_process(log: Path) -> Iterator[EngineProcess]:
    """A child that is gone when the block ends: in peace after a normal end, else at once."""
    process = EngineProcess(log)
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    process.close()
