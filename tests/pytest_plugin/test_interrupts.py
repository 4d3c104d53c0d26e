"""Sessions that a signal ends in one of their phases: no process is left, and what was compared is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.plugin_sessions import PLUGIN, RunPytest
from tests.support.processes import MARK, find_marked, wait_until_gone
from tests.support.sessions import prefix_options
from vlm_parity.cli.main import main
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.util.environment_variables import CACHE_VARIABLE
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, USAGE

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux supervises descendants")

PHASES = {
    "the reference loads": ("reference", {"load": "hang"}),
    "the engine loads": ("engine", {"load": "hang"}),
    "the engine loads and holds the interpreter": ("engine", {"load": "hang with the interpreter"}),
    "a server loads": ("engine", {"load": "hang in a server"}),
    "the engine captures": ("engine", {"inputs two_images": "hang"}),
}
"""The side that hangs, and its order."""
SIGNALS = [
    *((phase, signal.SIGKILL) for phase in PHASES),
    *((phase, signal.SIGTERM) for phase in ("the engine loads", "a server loads", "the engine captures")),
    ("the engine captures", signal.SIGINT),
    ("the engine captures", signal.SIGHUP),
]
COMPARED = {"one_video", "text_only"}
"""The cases before the one that hangs."""
ORDER_WAIT_S = 60.0
StartSession = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark every process of a test, and kill what it leaves."""
    monkeypatch.setenv(MARK, str(tmp_path))
    yield str(tmp_path)
    for pid in find_marked(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start_session(
    parity: RunPytest,  # noqa: ARG001 - writes the cases
    tiny_engine: str,
    pytester: pytest.Pytester,
    mark: str,  # noqa: ARG001 - inherited
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> StartSession:
    """Return a function that starts a session of the tiny engine as a process."""
    pytester.makeconftest(
        "from vlm_parity.report import contradictions\nfrom vlm_parity.session import references\n"
        f"references.REFERENCE_BACKEND = {tiny_engine!r}\ncontradictions.REFERENCES = {{{tiny_engine!r}}}"
    )
    write_checkpoint(pytester.path / "model", model_type="tiny")
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))

    def start(
        side: str, orders: dict[str, str], *words: str, command: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        if side == "reference":
            monkeypatch.setenv("TINY_ENGINE", json.dumps(orders))
        arguments = [f"{name}={order}" for name, order in orders.items()] if side == "engine" else []
        options = [word for argument in arguments for word in ("--engine-arg", argument)]
        options += ["--backend", tiny_engine, "--run", "run"]
        pytest_options = prefix_options(*options, "--model", "model", "--shard", "s", *words)
        pytest_words = ["pytest", "cases", *PLUGIN, *pytest_options]
        return subprocess.Popen(
            [sys.executable, "-m", *(["vlm_parity", *command, *options] if command else pytest_words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=pytester.path,
        )

    return start


def wait_for_order(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the engine hangs as ordered."""
    deadline = time.monotonic() + ORDER_WAIT_S
    while not any(" at " in log.read_text() for log in folder.glob("run/shards/*/logs/*.log")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def list_compared(run: LoadedRun) -> set[str]:
    return {entry.verdict.case for entry in run.verdicts}


@pytest.mark.parametrize(
    ("phase", "number"), SIGNALS, ids=[f"{phase}, {number.name}" for phase, number in SIGNALS]
)
def test_a_signal_ends_everything_and_keeps_what_was_compared(
    start_session: StartSession, pytester: pytest.Pytester, mark: str, phase: str, number: signal.Signals
) -> None:
    process = start_session(*PHASES[phase])
    wait_for_order(process, pytester.path)
    time.sleep(0.5 * (phase == "a server loads"))  # for its descendants to start
    process.send_signal(number)
    output = process.communicate(timeout=30)[0]
    assert wait_until_gone(mark) == []
    run = load_run(pytester.path / "run")
    assert list_compared(run) == (COMPARED if phase == "the engine captures" else set())
    assert not run.problems
    assert not run.passes
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        return
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "This run does not pass." in output
    (shard,) = json.loads((pytester.path / "run" / "report.json").read_text())["run"]["shards"]
    assert shard["incomplete_reason"].endswith("; its session was interrupted")


def test_a_second_interrupt_does_not_cut_off_the_report(
    start_session: StartSession, pytester: pytest.Pytester
) -> None:
    with (pytester.path / "conftest.py").open("a") as conftest:
        conftest.write(
            "\nimport os, signal\ndef pytest_sessionfinish(): os.kill(os.getpid(), signal.SIGINT)\n"
        )
    process = start_session(*PHASES["the engine captures"])
    wait_for_order(process, pytester.path)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "vlm-parity: writing the report; another interrupt abandons it" in output
    assert (pytester.path / "run" / "report.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_session_of_a_check_ends_with_it(
    start_session: StartSession, pytester: pytest.Pytester, mark: str, number: signal.Signals
) -> None:
    orders = PHASES["the engine captures"][1]
    check = start_session(
        "engine", orders, command=("check", "model", "--suite", "cases", "--depth", "logits")
    )
    wait_for_order(check, pytester.path)
    check.send_signal(number)
    output = check.communicate(timeout=60)[0]
    assert wait_until_gone(mark) == []
    assert list_compared(load_run(pytester.path / "run")) == COMPARED
    assert (pytester.path / "run" / "report.json").exists() is (number != signal.SIGKILL)
    if number != signal.SIGKILL:
        assert check.returncode == NOT_COMPARED
        assert output.endswith("parity: interrupted by SIGTERM\n")


@pytest.mark.parametrize("second", [(), ("-n", "1")])
def test_a_second_session_on_the_shard_is_a_usage_error(
    start_session: StartSession, pytester: pytest.Pytester, second: tuple[str, ...]
) -> None:
    if second:
        pytest.importorskip("xdist")
    first = start_session(*PHASES["the engine captures"], *second)
    wait_for_order(first, pytester.path)
    other = start_session("engine", {}, *second)
    output = other.communicate(timeout=60)[0]
    assert other.returncode == pytest.ExitCode.USAGE_ERROR
    assert re.search(r"another session \(process \d+\) uses the shard 's(-gw0)?'", output)
    run = load_run(pytester.path / "run")
    assert list_compared(run) == COMPARED
    assert [shard.incomplete_reason for shard in run.shards] == [
        "2 of 3 expected verdicts; its session is still running"
    ]
    assert main(["report", "run", "--out", "out"]) == USAGE
    assert main(["report", "run", "--out", "out", "--move-shards"]) == USAGE
    assert main(["report", "run", "--out", "run"]) == FAILED
    first.kill()
    first.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_workers_of_a_session_end_with_it(
    start_session: StartSession, pytester: pytest.Pytester, mark: str, number: signal.Signals
) -> None:
    pytest.importorskip("xdist")
    process = start_session(*PHASES["the engine captures"], "-n", "1")
    wait_for_order(process, pytester.path)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert wait_until_gone(mark) == []
    run = load_run(pytester.path / "run")
    assert list_compared(run) == COMPARED
    assert [shard.name for shard in run.incomplete] == ["s-gw0"]
    assert (pytester.path / "run" / "report.json").exists() is (number != signal.SIGKILL)
