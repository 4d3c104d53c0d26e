"""Captures: one load for all cases, and a crash costs one case only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.capture.runner import CaptureJob, CaptureTask, run_capture
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Outcome, Trace, read_trace
from vlm_parity.util.phase_clock import PhaseClock

CAPTURED, CRASH, HARNESS_ERROR = Outcome.CAPTURED, Outcome.CRASH, Outcome.HARNESS_ERROR
NAMES = ("one", "two", "three")


def case(name: str) -> Case:
    messages = [{"role": "user", "content": f"Case {name}"}]
    return Case.model_validate({"name": name, "summary": "s", "messages": messages, "max_new_tokens": 2})


@dataclass
class Captures:
    """Runs jobs and collects the arguments of their callbacks."""

    job: CaptureJob
    traces: dict[str, Trace] = field(default_factory=dict)
    following: dict[str, CaptureTask] = field(default_factory=dict)
    """The task that is asked for with the trace of another."""
    loads: list[float] = field(default_factory=list)
    clock: PhaseClock = field(default_factory=lambda: PhaseClock("session"))

    def run(self, orders: dict[str, str] | None = None, **changes: Any) -> None:
        settings = Settings(engine_args=orders or {})
        job = replace(self.job, **{"settings": settings, **changes})
        run_capture(job, self._captured, self.loads.append, self.clock)

    def _captured(self, task: CaptureTask, trace: Trace) -> CaptureTask | None:
        name = task.folder.name
        assert name not in self.traces, "reported twice"
        assert read_trace(task.folder) == trace, "reported before it was written"
        self.traces[name] = trace
        return self.following.get(name)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {name: trace.outcome for name, trace in self.traces.items()}

    @property
    def pids(self) -> list[int]:
        """The process ids of all loads that were started."""
        return [int(pid) for pid in re.findall(r"in process (\d+)", self.job.log.read_text())]


@pytest.fixture
def captures(tiny_engine: str, tmp_path: Path) -> Captures:
    tasks = (CaptureTask(case(name), tmp_path / "traces" / name) for name in NAMES)
    return Captures(
        CaptureJob(
            backend=tiny_engine,
            checkpoint=Checkpoint("tiny", "tiny", tmp_path, "synthetic", "d"),
            settings=Settings(),
            tasks=tuple(tasks),
            log=tmp_path / "engine.log",
            account="tiny/reference",
            is_reference=True,
        )
    )


def test_one_load_serves_all_cases_in_order(captures: Captures) -> None:
    captures.run()
    assert list(captures.traces) == list(NAMES)
    assert set(captures.outcomes.values()) == {CAPTURED}
    assert [len(captures.loads), len(captures.pids)] == [1, 1]
    for trace in captures.traces.values():  # the reference chooses
        assert trace.continuation == trace.greedy


def test_a_backend_follows_the_reference(captures: Captures) -> None:
    continuations = ((1, 2), (3, 4), None)
    tasks = zip(captures.job.tasks, continuations, strict=True)
    captures.run(
        tasks=tuple(replace(task, continuation=tokens) for task, tokens in tasks), is_reference=False
    )
    assert [captures.traces[name].continuation for name in NAMES] == [(1, 2), (3, 4), None]
    assert captures.traces["three"].outcome is CAPTURED  # without a continuation to follow


def test_the_entry_point_of_a_job_selects_the_class_that_is_loaded(captures: Captures) -> None:
    server = EntryPoint.SERVER
    tasks = tuple(replace(task, entry_point=server) for task in captures.job.tasks)
    captures.run(tasks=tasks, entry_point=server)
    assert captures.job.log.read_text().startswith("through a server\n")
    assert {trace.entry_point for trace in captures.traces.values()} == {server}


def test_a_child_that_is_killed_costs_one_case(captures: Captures) -> None:
    captures.run({"outputs two": "die"})
    assert captures.outcomes == {"one": CAPTURED, "two": CRASH, "three": CAPTURED}
    assert captures.traces["two"].message == (
        "the process was killed by SIGKILL; its last lines:\n"
        f"loading tiny in process {captures.pids[0]}\n"
        "die at outputs two"
    )
    assert [len(captures.loads), len(set(captures.pids))] == [2, 2]


def test_an_engine_that_reports_a_crash_is_replaced(captures: Captures) -> None:
    captures.run({"outputs one": "engine dies"})
    assert captures.outcomes == {"one": CRASH, "two": CAPTURED, "three": CAPTURED}
    message = captures.traces["one"].message
    assert message.startswith("its inner process is gone; its last lines:\n")
    assert "EngineCrashedError: its inner process is gone" in message
    assert captures.traces["one"].input_ids  # captured before the crash
    assert len(captures.loads) == 2


def test_a_refused_or_failing_case_keeps_the_engine(captures: Captures) -> None:
    captures.run({"inputs one": "raise", "outputs two": "raise", "inputs three": "say no"})
    assert captures.outcomes == {
        "one": Outcome.REFUSED, "two": Outcome.ERROR, "three": Outcome.UNSUPPORTED,
    }  # fmt: skip
    assert len(captures.loads) == 1


def test_a_failure_of_the_harness_keeps_the_engine(captures: Captures) -> None:
    captures.run({"inputs one": "confuse the harness", "odd media two": "yes"})
    assert captures.outcomes == {"one": HARNESS_ERROR, "two": HARNESS_ERROR, "three": CAPTURED}
    assert len(captures.loads) == 1


def test_a_trace_that_cannot_be_written_costs_one_case(captures: Captures, tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "two").write_text("in the way")
    traces: dict[str, Trace] = {}
    run_capture(
        captures.job,
        lambda task, trace: traces.update({task.case.name: trace}),
        lambda _: None,
        captures.clock,
    )
    assert [trace.outcome for trace in traces.values()] == [CAPTURED, HARNESS_ERROR, CAPTURED]
    assert "Error: " in traces["two"].message


def test_a_failed_load_is_the_outcome_of_every_case(captures: Captures) -> None:
    captures.run({"load": "raise"})
    assert captures.outcomes == dict.fromkeys(NAMES, Outcome.ERROR)
    assert len(captures.pids) == 1
    trace = captures.traces["two"]
    assert trace.message == "ValueError: cannot do load"
    assert (trace.case, trace.case_digest) == ("two", case("two").digest())
    assert (trace.model, trace.backend) == ("tiny", "tiny_engine")
    assert "numpy" in trace.environment.packages
    assert trace.input_ids is None


def test_a_load_that_crashes_is_not_retried(captures: Captures) -> None:
    captures.run({"load": "exit"})
    assert captures.outcomes == dict.fromkeys(NAMES, CRASH)
    for trace in captures.traces.values():
        assert trace.message.startswith(
            "while loading: the process ended with exit code 3; its last lines:\n"
        )
    assert [len(captures.loads), len(captures.pids)] == [0, 1]


def test_no_child_survives_a_crash_or_a_timeout(captures: Captures) -> None:
    captures.run({"inputs one": "die", "inputs two": "engine dies", "inputs three": "hang"}, case_timeout=0.5)
    assert captures.outcomes == dict.fromkeys(NAMES, CRASH)
    assert captures.traces["three"].message.startswith("no answer within 0.5 s; its last lines:\n")
    assert len(captures.pids) == 3
    for pid in captures.pids:
        assert not Path(f"/proc/{pid}").exists()


def on_features(captures: Captures, name: str) -> CaptureTask:
    """Return a task on given values, for which another reference would be needed."""
    folder = captures.job.tasks[0].folder
    return CaptureTask(
        case(name),
        folder.with_name(name),
        continuation=(1, 2),
        condition=Condition.FEATURES,
        reference_folder=folder,
    )


def test_a_task_that_follows_from_a_trace_comes_after_all_others(captures: Captures) -> None:
    captures.following = {"one": on_features(captures, "one_again")}
    captures.run()
    assert list(captures.traces) == [*NAMES, "one_again"]
    again = captures.traces["one_again"]
    assert (again.outcome, again.condition) == (Outcome.UNSUPPORTED, Condition.FEATURES)
    assert again.message == "the reference has no ids, spans or positions to give"
    assert len(captures.loads) == 1


def test_a_failure_of_the_harness_on_given_values_says_on_which(captures: Captures) -> None:
    captures.following = {"one": on_features(captures, "one_again")}
    captures.run({"odd media one_again": "yes"})
    again = captures.traces["one_again"]
    assert (again.outcome, again.condition) == (HARNESS_ERROR, Condition.FEATURES)


@pytest.mark.parametrize("order", ["die", "engine dies"])
def test_an_engine_that_crashes_on_given_values_is_not_loaded_for_the_rest(
    captures: Captures, order: str
) -> None:
    captures.following = {name: on_features(captures, f"{name}_again") for name in NAMES}
    captures.run({"inputs one_again": order})
    assert [captures.outcomes[f"{name}_again"] for name in NAMES] == [
        CRASH, Outcome.UNSUPPORTED, Outcome.UNSUPPORTED,
    ]  # fmt: skip
    assert captures.traces["two_again"].condition is Condition.FEATURES
    assert captures.traces["two_again"].message == (
        "the engine crashed on the reference's ids, positions and features in one_again"
    )
    assert len(captures.loads) == 1


CHAT, TEXT, TOKEN_IDS = EntryPoint.CHAT, EntryPoint.TEXT, EntryPoint.TOKEN_IDS


def by_entry_point(captures: Captures) -> tuple[CaptureTask, ...]:
    """Return tasks for the first case by chat, text and token ids, and the second case by text."""
    one, two, _ = captures.job.tasks
    return tuple(
        replace(
            task,
            entry_point=entry_point,
            folder=task.folder.with_name(f"{task.case.name}-{entry_point}"),
        )
        for task, entry_point in ((one, CHAT), (one, TEXT), (one, TOKEN_IDS), (two, TEXT))
    )


def test_one_load_serves_all_entry_points(captures: Captures) -> None:
    captures.run({"wrong id one by text": ""}, tasks=by_entry_point(captures))
    assert len(captures.loads) == 1
    assert {name: (trace.entry_point, trace.outcome) for name, trace in captures.traces.items()} == {
        "one-chat": ("chat", CAPTURED),
        "one-text": ("text", CAPTURED),
        "one-token_ids": ("token_ids", Outcome.UNSUPPORTED),
        "two-text": ("text", CAPTURED),
    }
    assert captures.traces["one-chat"].input_ids != captures.traces["one-text"].input_ids
    assert captures.traces["one-token_ids"].message == (
        "tiny_engine has no entry point token_ids in vlm-parity; its entry points: chat, text"
    )


def test_a_crash_at_one_entry_point_costs_that_one(captures: Captures) -> None:
    captures.run({"inputs one by text": "die"}, tasks=by_entry_point(captures))
    crashed = captures.traces["one-text"]
    assert (crashed.entry_point, crashed.outcome) == ("text", CRASH)
    assert [name for name, outcome in captures.outcomes.items() if outcome is CAPTURED] == [
        "one-chat", "two-text",
    ]  # fmt: skip
    assert len(captures.loads) == 2


def test_a_failed_load_is_the_outcome_of_every_entry_point(captures: Captures) -> None:
    captures.run({"load": "raise"}, tasks=by_entry_point(captures))
    outcomes = {(trace.entry_point, trace.outcome) for trace in captures.traces.values()}
    assert outcomes == {(entry_point, Outcome.ERROR) for entry_point in ("chat", "text", "token_ids")}
