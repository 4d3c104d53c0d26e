"""A child process: every way in which it can end is told in words, and nothing of it survives."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

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


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for nobody does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def is_gone(pid: int) -> bool:
    """Whether it has ended within a moment: a signal takes its time."""
    deadline = time.monotonic() + 5
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


Opened = Callable[..., Iterator[EngineProcess]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "engine.log"


@pytest.fixture
def engine(tiny_engine: str, tmp_path: Path, log: Path) -> Opened:
    """Starts a child whose engine is told something; gives it with its engine loaded."""

    @contextmanager
    def start(engine_args: dict[str, str] | None = None, timeout: float = ENOUGH) -> Iterator[EngineProcess]:
        checkpoint = Checkpoint("tiny", "tiny", tmp_path, "synthetic", "d")
        with start_engine_process(log) as process:
            settings = Settings(engine_args=engine_args or {})
            process.load(LoadRequest.of(tiny_engine, checkpoint, settings), timeout)
            yield process

    return start


@pytest.fixture
def ask(tmp_path: Path) -> CaptureRequest:
    return CaptureRequest(case=CASE, case_folder=None, folder=tmp_path / "trace", is_reference=True)


def test_a_child_answers_and_ends_in_peace(engine: Opened, ask: CaptureRequest, log: Path) -> None:
    with engine() as process:
        assert lives(process.pid)
        assert process.capture(ask, ENOUGH).outcome is Outcome.CAPTURED
        assert read_trace(ask.folder).input_ids == (72, 105)
        assert process.capture(ask, ENOUGH).outcome is Outcome.CAPTURED
    assert not lives(process.pid)
    assert log.read_text().splitlines() == [f"loading tiny in process {process.pid}", "closing"]


@pytest.mark.parametrize(
    ("order", "epitaph"),
    [
        ("die", "the process was killed by SIGKILL"),
        ("exit", "the process ended with exit code 3"),
    ],
)
def test_a_child_that_dies_says_how_and_shows_its_last_lines(
    engine: Opened, ask: CaptureRequest, order: str, epitaph: str
) -> None:
    with (
        pytest.raises(WorkerDiedError, match=rf"^{epitaph}; its last lines:\n(.*\n)*{order} at inputs one$"),
        engine({"inputs one": order}) as process,
    ):
        process.capture(ask, ENOUGH)
    assert not lives(process.pid)


def test_a_child_is_known_to_be_dead_where_a_fork_of_it_keeps_its_channel_open(
    engine: Opened, ask: CaptureRequest
) -> None:
    with (
        pytest.raises(WorkerDiedError, match=r"^the process was killed by SIGKILL; "),
        engine({"inputs one": "fork and die"}) as process,
    ):
        process.capture(ask, ENOUGH)


def test_a_child_that_hangs_is_given_up(engine: Opened, ask: CaptureRequest) -> None:
    start = time.monotonic()
    with (
        pytest.raises(WorkerDiedError, match=r"^no answer within 0\.2 s; its last lines:\n"),
        engine({"inputs one": "hang"}) as process,
    ):
        process.capture(ask, 0.2)
    assert time.monotonic() - start < 5
    assert not lives(process.pid)


def test_an_engine_that_loads_for_ever_is_given_up(engine: Opened) -> None:
    with pytest.raises(WorkerDiedError, match=r"^no answer within 0\.1 s; "), engine({"load": "hang"}, 0.1):
        pytest.fail("it never loads")


def test_a_child_that_is_dead_already_cannot_be_asked(engine: Opened, ask: CaptureRequest) -> None:
    with engine() as process:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
            process.capture(ask, ENOUGH)


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_the_child_has_started_ends_with_it(engine: Opened, log: Path, interrupted: bool) -> None:
    with (
        pytest.raises(KeyboardInterrupt) if interrupted else nullcontext(),
        engine({"load": "start a helper"}) as process,
    ):
        (helper,) = re.findall(r"helper in process (\d+)", log.read_text())
        assert lives(int(helper))
        if interrupted:
            raise KeyboardInterrupt
    assert not lives(process.pid)
    assert is_gone(int(helper))


def test_a_child_that_printed_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with (
        pytest.raises(WorkerDiedError, match=r"^the process ended with exit code 1; it printed nothing$"),
        start_engine_process(log) as process,
    ):
        process.capture(CaptureRequest(case=CASE, case_folder=None, folder=log.parent), ENOUGH)


def test_last_words_are_the_last_lines(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    with start_engine_process(log) as process:
        log.write_bytes(b"\n".join(b"line %d" % n for n in range(100)) + b"\nnot UTF-8: \xff\n")
        lines = process.read_output_tail().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("; its last lines:", "line 81", "not UTF-8: \ufffd")


def test_a_log_grows_over_the_children_of_one_engine(engine: Opened, log: Path) -> None:
    with engine():
        pass
    with engine() as process:
        assert log.read_text().count("loading tiny") == 2
        assert process.read_output_tail() == f"; its last lines:\nloading tiny in process {process.pid}"
