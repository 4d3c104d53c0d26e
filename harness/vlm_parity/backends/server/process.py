"""An engine's own server: started, watched, ended."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Thread

from vlm_parity.util.errors import EngineCrashedError, ServerEndedError

HOST = "127.0.0.1"
_POLL_INTERVAL_S = 0.25  # seconds between two looks at whether it is ready
_STOP_GRACE_S = 20.0  # seconds to end by itself; less than the child that asks it is given
_EXIT_GRACE_S = 5.0  # seconds in which a server that broke a connection is found to have ended
_BUFFERED_LINES = 400  # lines: a traceback of an engine's process and one of the server's
_TAIL_LINES = 20  # lines in a message


def find_free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port


class ServerProcess:
    """One server, in the process group of the one that asks it, ended with it."""

    def __init__(self, command: Sequence[str], port: int, environment: Mapping[str, str]) -> None:
        """Args:
        command: what starts it, told to listen on ``port``.
        port: of the loopback interface.
        environment: variables that it is given beside those of this process.
        """
        self.port = port
        self._tail: deque[str] = deque(maxlen=_BUFFERED_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vlm_parity.backends.server.parent_death", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        )
        self._reader = Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def find_line(self, words: re.Pattern[str]) -> str | None:
        """The last line of those that it printed of late that holds some words; None where none does."""
        found = [line.strip() for line in list(self._tail) if words.search(line)]
        return found[-1] if found else None

    def wait_until_ready(self) -> None:
        """Waits for as long as it lives: how long a load may take is the parent's business.

        Raises:
            ServerEndedError: it did not live to be ready.
        """
        while not self.is_healthy():
            if self._process.poll() is not None:
                raise ServerEndedError(f"the server {self._describe_exit()}")
            time.sleep(_POLL_INTERVAL_S)

    def is_healthy(self) -> bool:
        """Whether it says so."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_EXIT_GRACE_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def check_alive(self, problem: Exception) -> None:
        """Looks again after a request that broke off or failed inside the server.

        Raises:
            EngineCrashedError: the server has ended, or says that it can serve no more.
        """
        if self.is_healthy():
            return
        ended = self._ends_within(_EXIT_GRACE_S)
        how = self._describe_exit() if ended else f"says that it can serve no more{self._read_output_tail()}"
        raise EngineCrashedError(f"the server {how}") from problem

    def stop(self) -> None:
        """Lets it end by itself, else kills it."""
        self._process.terminate()
        if not self._ends_within(_STOP_GRACE_S):
            self._process.kill()
            self._process.wait()

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _describe_exit(self) -> str:
        self._reader.join(_EXIT_GRACE_S)  # its engine may hold the pipe open
        return f"ended with exit code {self._process.returncode}{self._read_output_tail()}"

    def _read_output_tail(self) -> str:
        lines = [line.rstrip() for line in list(self._tail)[-_TAIL_LINES:]]
        return "; its last lines:\n" + "\n".join(lines) if lines else "; it printed nothing"

    def _pass_on(self) -> None:
        """Copies what it prints to the log of this process."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._tail.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
