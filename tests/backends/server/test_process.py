"""The process of a server: its output, its end, and the port on which nobody else answers for it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.processes import build_tiny_server, is_gone
from vlm_parity.backends.server.port import HOST, is_served_by, reserve_port
from vlm_parity.backends.server.process import ServerProcess
from vlm_parity.util.errors import ForeignServerError, ServerEndedError
from vlm_parity.util.supervisor import list_descendants

UNSUPPORTED = re.compile("not served here")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens on a port")
WITHOUT_PORT = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    process = ServerProcess(build_tiny_server, {})
    process.wait_until_ready()
    yield process
    process.stop()


def listen(port: int, host: str = HOST) -> socket.socket:
    """Listen as a foreign server that happens on the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen()
    return listener


def test_the_error_of_a_server_that_ends_while_it_loads_has_its_output() -> None:
    code = "print('one'); print('not served here'); exit(4)"
    process = ServerProcess(lambda _: [sys.executable, "-c", code], {})
    with pytest.raises(
        ServerEndedError, match=r"ended with exit code 4; its last lines:\none\nnot served here"
    ):
        process.wait_until_ready()
    assert process.find_line(UNSUPPORTED) == "not served here"
    assert process.find_line(re.compile("elsewhere")) is None


def test_a_server_has_the_variables() -> None:
    code = "import os; print(os.environ['GIVEN'])"
    with pytest.raises(ServerEndedError, match="value"):
        ServerProcess(lambda _: [sys.executable, "-c", code], {"GIVEN": "value"}).wait_until_ready()


def test_a_server_that_ignores_its_termination_is_killed(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_parity.backends.server.process._STOP_GRACE_S", 0.2)
    pid = min(list_descendants(server.pid), default=server.pid)
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert is_gone(pid)


@on_linux
def test_a_foreign_server_on_the_port_is_rejected_by_name() -> None:
    process = ServerProcess(lambda _: WITHOUT_PORT, {})
    foreign = subprocess.Popen(build_tiny_server(process.port), stdout=subprocess.PIPE)
    assert foreign.stdout is not None
    assert foreign.stdout.readline() == b"ready\n"
    with pytest.raises(ForeignServerError) as raised:
        process.wait_until_ready()
    process.stop()
    foreign.kill()
    foreign.communicate()
    assert f"port {process.port}: process {foreign.pid} (" in str(raised.value)
    assert "tiny_server.py" in str(raised.value)


@on_linux
def test_the_server_of_another_session_is_not_a_healthy_server(server: ServerProcess) -> None:
    other = ServerProcess(lambda _: WITHOUT_PORT, {})
    assert server.is_healthy()
    with pytest.raises(ForeignServerError):
        is_served_by(server.port, other.pid)
    other.stop()
    assert not other.is_healthy()


@on_linux
@pytest.mark.parametrize("host", [HOST, "0.0.0.0", "::", f"::ffff:{HOST}"])  # noqa: S104
def test_every_address_that_accepts_the_connections_counts(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        if ":" in host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        assert not is_served_by(port, os.getpid())  # not yet
        listener.listen()
        assert is_served_by(port, os.getpid())
        with pytest.raises(ForeignServerError, match=f"process {os.getpid()} "):
            is_served_by(port, 2**22 + 1)


@on_linux
def test_a_reserved_port_is_assigned_to_nobody_and_accepts_a_server() -> None:
    with reserve_port() as reserved, socket.socket() as other:
        port = reserved.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        with closing(listen(port)):
            assert is_served_by(port, os.getpid())


@on_linux
def test_a_server_ends_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time; from tests.support.processes import build_tiny_server\n"
        "from vlm_parity.backends.server.process import ServerProcess\n"
        "server = ServerProcess(build_tiny_server, {})\n"
        "server.wait_until_ready(); print(server.pid, file=sys.stderr, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    pid = int(parent.stderr.readline())
    family = [pid, *list_descendants(pid)]
    assert len(family) > 1
    parent.kill()
    parent.wait()
    parent.stderr.close()
    assert all(map(is_gone, family))
