"""Child processes: every kind of end is reported, and nothing survives it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.support.processes import is_gone, is_running
from vlm_parity.backends.base import Settings
from vlm_parity.capture.process import EngineProcess, start_engine_process
from vlm_parity.capture.protocol import CaptureRequest, LoadRequest
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.trace import Outcome, read_trace
from vlm_parity.util.errors import WorkerDiedError

CASE = Case.model_validate(
    {"name": "one", "summary": "s", "messages": [{"role": "user", "content": "Hi"}], "max_new_tokens": 1}
)
ENOUGH = 30.0  # seconds; no test waits for it


EngineStarter = Callable[..., AbstractContextManager[EngineProcess]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "engine.log"


@pytest.fixture
def engine(tiny_engine: str, tmp_path: Path, log: Path) -> EngineStarter:
    """Return a function that starts a child and loads its engine with some arguments."""

    @contextmanager
    def start(engine_args: dict[str, str] | None = None, timeout: float = ENOUGH) -> Iterator[EngineProcess]:
        checkpoint = Checkpoint("tiny", "tiny", tmp_path, "synthetic", "d")
        with start_engine_process(log) as process:
            settings = Settings(engine_args=engine_args or {})
            process.load(LoadRequest.of(tiny_engine, checkpoint, settings), timeout)
            yield process

    return start


@pytest.fixture
def request_(tmp_path: Path) -> CaptureRequest:
    return CaptureRequest(case=CASE, case_folder=None, folder=tmp_path / "trace", is_reference=True)


def test_a_child_responds_and_ends_by_itself(
    engine: EngineStarter, request_: CaptureRequest, log: Path
) -> None:
    with engine() as process:
        assert is_running(process.pid)
        assert process.capture(request_, ENOUGH).outcome is Outcome.CAPTURED
        assert read_trace(request_.folder).input_ids == (72, 105)
        assert process.capture(request_, ENOUGH).outcome is Outcome.CAPTURED
    assert not is_running(process.pid)
    assert re.fullmatch(r"loading tiny in process \d+\nclosing\n", log.read_text())


def test_an_engine_may_print_any_character(
    tiny_engine: str, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    checkpoint = Checkpoint("modèl", "tiny", tmp_path, "synthetic", "d")
    with start_engine_process(log) as process:
        loaded = process.load(LoadRequest.of(tiny_engine, checkpoint, Settings()), ENOUGH)
    assert loaded.outcome is Outcome.CAPTURED
    assert log.read_text(encoding="utf-8").startswith("loading modèl in process")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("die", "the process was killed by SIGKILL"),
        ("exit", "the process ended with exit code 3"),
    ],
)
def test_the_error_of_a_dead_child_has_its_exit_and_output_tail(
    engine: EngineStarter, request_: CaptureRequest, order: str, message: str
) -> None:
    with (
        pytest.raises(WorkerDiedError, match=rf"^{message}; its last lines:\n(.*\n)*{order} at inputs one$"),
        engine({"inputs one": order}) as process,
    ):
        process.capture(request_, ENOUGH)
    assert not is_running(process.pid)


def test_a_dead_child_is_noticed_although_a_fork_of_it_keeps_the_connection_open(
    engine: EngineStarter, request_: CaptureRequest
) -> None:
    with (
        pytest.raises(WorkerDiedError, match=r"^the process was killed by SIGKILL; "),
        engine({"inputs one": "fork and die"}) as process,
    ):
        process.capture(request_, ENOUGH)


def test_a_child_that_hangs_times_out(engine: EngineStarter, request_: CaptureRequest) -> None:
    start = time.monotonic()
    with (
        pytest.raises(WorkerDiedError, match=r"^no answer within 0\.2 s; its last lines:\n"),
        engine({"inputs one": "hang"}) as process,
    ):
        process.capture(request_, 0.2)
    assert time.monotonic() - start < 5
    assert not is_running(process.pid)


def test_an_engine_that_loads_forever_times_out(engine: EngineStarter) -> None:
    with pytest.raises(WorkerDiedError, match=r"^no answer within 0\.1 s; "), engine({"load": "hang"}, 0.1):
        pytest.fail("it never loads")


def test_a_request_to_a_dead_child_fails(engine: EngineStarter, request_: CaptureRequest) -> None:
    with engine() as process:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
            process.capture(request_, ENOUGH)


@pytest.mark.parametrize("interrupted", [False, True])
def test_processes_started_by_the_child_end_with_it(
    engine: EngineStarter, log: Path, interrupted: bool
) -> None:
    with (
        pytest.raises(KeyboardInterrupt) if interrupted else nullcontext(),
        engine({"load": "start a helper"}) as process,
    ):
        (helper,) = re.findall(r"helper in process (\d+)", log.read_text())
        assert is_running(int(helper))
        if interrupted:
            raise KeyboardInterrupt
    assert not is_running(process.pid)
    assert is_gone(int(helper))


def test_a_child_without_output(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        pytest.raises(WorkerDiedError, match=r"^the process ended with exit code 1; it printed nothing$"),
        start_engine_process(log) as process,
    ):
        process.capture(CaptureRequest(case=CASE, case_folder=None, folder=log.parent), ENOUGH)


def test_the_output_tail_is_the_last_lines(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    with start_engine_process(log) as process:
        log.write_bytes(b"\n".join(b"line %d" % n for n in range(100)) + b"\nnot UTF-8: \xff\n")
        lines = process.read_output_tail().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("; its last lines:", "line 81", "not UTF-8: \ufffd")


def test_the_children_of_one_engine_share_a_log(engine: EngineStarter, log: Path) -> None:
    with engine():
        pass
    with engine() as process:
        assert log.read_text().count("loading tiny") == 2
        assert re.fullmatch(r"; its last lines:\nloading tiny in process \d+", process.read_output_tail())
