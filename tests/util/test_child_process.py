"""Child processes: exit codes are those of the command, and no descendant outlives it or its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import MARK, find_marked, wait_until_gone
from vlm_parity.util.child_process import ChildProcess, run_child, run_in_threads
from vlm_parity.util.supervisor import list_descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux supervises descendants")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
DAEMONS = "setsid sleep 600 & setsid sh -c 'setsid sleep 600 & sleep 600' & "
"""Starts processes that leave the session and the process group, some of whose parents end."""


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark all processes of a test; none is left at its end."""
    monkeypatch.setenv(MARK, str(tmp_path))
    yield str(tmp_path)
    assert wait_until_gone(str(tmp_path)) == []


def wait_for_processes(mark: str, count: int) -> None:
    deadline = time.monotonic() + 10
    while sum("sleep 600" in command for command in find_marked(mark).values()) < count:
        assert time.monotonic() < deadline, find_marked(mark)
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", -9), ("kill -SEGV $$", -11), ("kill -TERM $$", -15)],
)
def test_the_exit_code_is_that_of_the_command(script: str, code: int) -> None:
    assert run_child(["sh", "-c", script]).returncode == code


def test_the_streams_and_the_variables_are_those_of_the_command() -> None:
    done = run_child(
        ["sh", "-c", "cat; echo $GIVEN; echo bad >&2"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "GIVEN": "value"},
    )
    assert (done.stdout, done.stderr) == ("value\n", "bad\n")


def test_a_command_has_the_default_signals() -> None:
    script = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    done = run_child([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n"
    assert run_child(["sh", "-c", "yes | head -1; kill -PIPE $$"], capture_output=True).returncode == -13


def test_a_failed_check_names_the_command() -> None:
    with pytest.raises(subprocess.CalledProcessError, match=r"\['sh', '-c', 'exit 3'\].* status 3"):
        run_child(["sh", "-c", "exit 3"], check=True)


def test_a_missing_program_is_named() -> None:
    done = run_child(["no-such-program"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (127, "cannot run no-such-program: No such file or directory\n")


def test_descendants_end_with_the_command(mark: str) -> None:
    done = run_child(["sh", "-c", f"{DAEMONS} sleep 0.3; exit 5"])
    assert done.returncode == 5
    assert find_marked(mark) == {}


def test_descendants_end_after_a_timeout(mark: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["sh", "-c", f"{DAEMONS} wait"], timeout=0.5)
    assert find_marked(mark) == {}


def test_a_command_may_end_by_itself_after_a_timeout(tmp_path: Path) -> None:
    script = f"trap 'echo end >{tmp_path}/end; exit 0' TERM; touch {tmp_path}/start; sleep 600 & wait"
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["sh", "-c", script], timeout=2, grace=30)
    assert (tmp_path / "start").exists()
    assert (tmp_path / "end").read_text() == "end\n"


def test_a_command_that_ignores_signals_is_killed(mark: str) -> None:
    process = ChildProcess(["sh", "-c", f"trap '' TERM INT HUP USR1; {DAEMONS} while :; do sleep 600; done"])
    wait_for_processes(mark, 4)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    assert process.wait(5) == -signal.SIGKILL
    assert find_marked(mark) == {}


def test_a_stopped_command_is_killed(mark: str) -> None:
    process = ChildProcess(["sleep", "600"])
    wait_for_processes(mark, 2)  # the supervisor's command line has the same words
    (command,) = list_descendants(process.pid)
    os.kill(command, signal.SIGSTOP)
    process.kill()
    assert process.wait(5) == -signal.SIGKILL


def test_shared_memory_is_removed_when_its_owner_is_killed() -> None:
    script = (
        "import time; from multiprocessing.shared_memory import SharedMemory\n"
        "block = SharedMemory(create=True, size=8); print(block.name, flush=True); time.sleep(600)"
    )
    process = ChildProcess([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert (SHARED_MEMORY / name).exists()
    process.kill()
    process.wait(5)
    process.stdout.close()
    assert not (SHARED_MEMORY / name).exists()


def test_an_interrupt_ends_the_children_of_all_threads(tmp_path: Path) -> None:
    ended: list[int] = []

    def run(index: int) -> None:
        if index == 2:
            while len(list(tmp_path.glob("start*"))) < 2:
                time.sleep(0.02)
            raise KeyboardInterrupt
        trap = f"trap 'touch {tmp_path}/end{index}; exit' TERM"
        script = f"{trap}; touch {tmp_path}/start{index}; sleep 600 & wait"
        ended.append(run_child(["sh", "-c", script]).returncode)

    with pytest.raises(KeyboardInterrupt):
        run_in_threads(run, [2, 0, 1, 3], 3)
    assert ended == []
    assert sorted(path.name for path in tmp_path.glob("end*")) == ["end0", "end1"]
    assert run_child(["true"]).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_descendants_end_with_the_parent(number: signal.Signals, mark: str) -> None:
    script = (
        "from vlm_parity.util.child_process import run_child\n"
        f"run_child(['sh', '-c', \"trap '' TERM HUP; {DAEMONS} while :; do sleep 600; done\"])"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    wait_for_processes(mark, 4)
    parent.send_signal(number)
    parent.wait()
    assert wait_until_gone(mark) == []


def test_a_command_ends_with_its_supervisor(mark: str) -> None:
    process = ChildProcess(["sleep", "600"])
    wait_for_processes(mark, 2)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert wait_until_gone(mark) == []


def test_a_parent_that_is_gone_at_the_start_is_noticed() -> None:
    from vlm_parity.util import supervisor

    command = [sys.executable, "-I", "-S", supervisor.__file__, "1", "sleep", "600"]
    assert subprocess.run(command, check=False, timeout=20).returncode == -signal.SIGKILL
