"""The process of an engine's own server: start, health, output, stop."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Thread

from vlm_parity.backends.server.port import HOST, is_served_by, reserve_port
from vlm_parity.util.child_process import ChildProcess
from vlm_parity.util.errors import EngineCrashedError, ServerEndedError

_POLL_INTERVAL_S = 0.25  # between two health checks while the server starts
_STOP_GRACE_S = 20.0  # for a regular exit; shorter than the parent's own grace period
_EXIT_GRACE_S = 5.0  # for an exit to show after a connection broke
_BUFFERED_LINES = 400  # holds a traceback of the engine's process and one of the server's
_TAIL_LINES = 20  # in an error message


class ServerProcess:
    """One server under supervision, so it ends with this process; its output is copied to stdout."""

    def __init__(self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str]) -> None:
        """Start a server; ``wait_until_ready`` waits for it.

        Args:
            command: returns the command line that makes it listen on a port of ``HOST``.
            environment: variables to set in addition to those of this process.
        """
        self._reservation = reserve_port()
        self.port: int = self._reservation.getsockname()[1]
        if sys.platform != "linux":  # see reserve_port
            self._reservation.close()
        self._tail: deque[str] = deque(maxlen=_BUFFERED_LINES)
        self._process = ChildProcess(
            command(self.port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        )
        self._reader = Thread(target=self._forward_output, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id of the server's supervisor."""
        return self._process.pid

    def find_line(self, pattern: re.Pattern[str]) -> str | None:
        """Return the last of the recent output lines that match a pattern, or None."""
        matches = [line.strip() for line in list(self._tail) if pattern.search(line)]
        return matches[-1] if matches else None

    def wait_until_ready(self) -> None:
        """Wait until the server is healthy, without a timeout of its own: the parent limits the load time.

        Raises:
            ServerEndedError: the server ended before it was ready.
            ForeignServerError: a process that this one did not start listens on the port.
        """
        while not (self._is_listening() and self.is_healthy()):
            if self._process.poll() is not None:
                raise ServerEndedError(f"the server {self._describe_exit()}")
            time.sleep(_POLL_INTERVAL_S)

    def _is_listening(self) -> bool:
        """Return whether the server listens on its port; True where the system does not tell.

        Raises:
            ForeignServerError: another process listens on it.
        """
        return sys.platform != "linux" or is_served_by(self.port, self._process.pid)

    def is_healthy(self) -> bool:
        """Return whether the server runs and ``GET /health`` succeeds."""
        if self._process.poll() is not None:
            return False
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_EXIT_GRACE_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def check_running(self) -> None:
        """Check that the server has not ended, so that nobody else can have taken its port.

        Raises:
            EngineCrashedError: the server has ended.
        """
        if self._process.poll() is not None:
            raise EngineCrashedError(f"the server {self._describe_exit()}")

    def check_alive(self, error: Exception) -> None:
        """Check the server again after a request failed.

        Args:
            error: the failure; cause of the raised exception.

        Raises:
            EngineCrashedError: the server has ended or is unhealthy.
        """
        if self.is_healthy():
            return
        ended = self._wait_for_exit(_EXIT_GRACE_S)
        state = self._describe_exit() if ended else f"is unhealthy{self._read_output_tail()}"
        raise EngineCrashedError(f"the server {state}") from error

    def stop(self) -> None:
        """Terminate the server; kill it if it does not exit in time."""
        self._process.terminate()
        if not self._wait_for_exit(_STOP_GRACE_S):
            self._process.kill()
            self._process.wait()
        self._reservation.close()

    def _wait_for_exit(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _describe_exit(self) -> str:
        self._reader.join(_EXIT_GRACE_S)  # the engine's own process may keep the pipe open
        return f"ended with exit code {self._process.returncode}{self._read_output_tail()}"

    def _read_output_tail(self) -> str:
        lines = [line.rstrip() for line in list(self._tail)[-_TAIL_LINES:]]
        return "; its last lines:\n" + "\n".join(lines) if lines else "; it printed nothing"

    def _forward_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._tail.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
