"""Sessions on an engine: loads, crashes, refusals, reproduce commands."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.plugin_sessions import EVERY_STAGE, STAGES, RunPytest, count_loads, list_failures
from vlm_parity.backends import installation
from vlm_parity.models.resolve import resolve_model
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.array_sketch import SKETCH_FILE
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.trace import ARRAY_FILE, Span, Stage
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.session.shard_writer import ShardWriter
from vlm_parity.util.environment_variables import CACHE_VARIABLE

pytest_plugins = ["pytester"]


def test_engine_is_loaded_once_and_matches_itself(
    engine: RunPytest, pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    result = engine("--shard", "p")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=18)
    result.stdout.fnmatch_lines(["[[]tiny-model tiny_engine] 3/3 *: match"])
    assert count_loads(pytester) == {"tiny-model-reference": 1, "tiny-model-tiny_engine": 1}
    folder = pytester.path / "run" / "shards" / "p"
    assert len(list(folder.glob("media/*/*.png"))) == 3
    shard = read_record(folder / "shard.json", Shard)
    assert shard.models["tiny-model"].source == "tiny model"
    assert set(shard.seconds) == {
        "session", "diff",
        *(f"tiny-model/{phase}" for phase in ("checkpoint", "reference/cache", "reference/floor")),
        *(f"tiny-model/{side}/{phase}" for side in ("reference", "tiny_engine")
        for phase in ("process", "load", "capture")),
    }  # fmt: skip
    assert shard.finished is not None
    wall = datetime.fromisoformat(shard.finished) - datetime.fromisoformat(shard.started)
    assert sum(shard.seconds.values()) == pytest.approx(wall.total_seconds(), abs=0.1)
    assert not list(folder.glob(f"traces/**/{ARRAY_FILE}"))
    sketches = folder.glob(f"traces/tiny-model/reference/*/{SKETCH_FILE}")
    assert sorted(path.parent.name for path in sketches) == ["one_video", "text_only", "two_images"]


def test_fault_is_detected_and_compared_again_without_engine(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = ("--engine-arg", "wrong logit two_images=true")
    first = engine("--keep-logits", *fault)
    assert list_failures(first) == ["test_prefill[tiny-model-tiny_engine-two_images]"]
    (kept,) = (pytester.path / "run").glob("shards/*/traces/tiny-model")
    passes = ["tiny_engine", "tiny_engine-pass-2", "tiny_engine-pass-3"]
    assert sorted(side.name for side in kept.iterdir()) == ["reference", *passes]
    assert (kept / "reference" / "two_images" / ARRAY_FILE).exists()
    monkeypatch.setattr(
        "vlm_parity.session.engine_runner.run_capture", lambda *_: pytest.fail("no engine is needed")
    )
    again = engine("--rejudge", "run", "--run", "again")
    assert list_failures(again) == list_failures(first)
    messages = [
        load_run(pytester.path / run).verdicts[0].verdict.stage(Stage.PREFILL) for run in ("run", "again")
    ]
    assert messages[0] == messages[1]


def test_each_case_fails_or_is_skipped_alone_with_message_of_engine(engine: RunPytest) -> None:
    orders = ("inputs two_images=die", "outputs text_only=raise", "inputs one_video=say no")
    result = engine(*(word for order in orders for word in ("--engine-arg", order)))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    crashed = [f"test_{name}[tiny-model-tiny_engine-two_images]" for name in EVERY_STAGE]
    raised = [f"test_{name}[tiny-model-tiny_engine-text_only]" for name in STAGES["logits"]]
    assert set(list_failures(result)) == {*crashed, *raised}
    result.assert_outcomes(passed=3, failed=9, skipped=6)
    result.stdout.fnmatch_lines(["crash: the process was killed by SIGKILL; its last lines:"])
    result.stdout.fnmatch_lines(["error: ValueError: cannot do outputs text_only"])
    result.stdout.fnmatch_lines(["SKIPPED * unsupported: inputs one_video: not served"])


def test_failure_of_harness_is_none_of_engine(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = engine("--engine-arg", "inputs two_images=confuse the harness")
    failed = [f"test_{name}[tiny-model-tiny_engine-two_images]" for name in EVERY_STAGE]
    assert set(list_failures(result)) == set(failed)
    result.assert_outcomes(passed=12, failed=6)
    result.stdout.fnmatch_lines(
        ["harness_error: the harness failed while capturing tiny_engine: TypeError: *"]
    )
    assert load_run(pytester.path / "run").verdicts[0].verdict.kind is VerdictKind.HARNESS_ERROR


def test_failure_of_harness_at_reference_is_not_cached(
    engine: RunPytest, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    with monkeypatch.context() as patched:
        patched.setenv("TINY_ENGINE", json.dumps({"samples two_images": "confuse the harness"}))
        first = engine()
    first.assert_outcomes(passed=12, failed=6)
    first.stdout.fnmatch_lines(
        ["harness_error: the harness failed while capturing tiny_engine: TypeError: *"]
    )
    engine("--run", "again").assert_outcomes(passed=18)


def confuse(*_: object) -> NoReturn:
    Span.of("image", 0, [None, 1])  # type: ignore[list-item]
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("target", "action"),
    [
        ("vlm_parity.verdicts.decide.compare_stages", "comparing the traces"),
        ("vlm_parity.session.verdict_writer.apply_known_issues", "applying the known issues"),
        ("vlm_parity.session.verdict_writer.copy_sketch", "handling the traces"),
        ("vlm_parity.session.session.Session._compare_max_media", ""),
        ("vlm_parity.session.engine_runner._compute_max_length", "running the session"),
        ("vlm_parity.capture.runner.read_captured", "running the session"),
    ],
)
def test_failure_in_session_loses_no_case(
    engine: RunPytest,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    action: str,
) -> None:
    monkeypatch.setattr(target, confuse)
    engine()
    run = load_run(pytester.path / "run")
    assert not run.problems
    assert run.shards[0].record is not None
    assert (run.shards[0].record.expected, run.shards[0].record.failures) == (3, {})
    kinds = {entry.verdict.case: entry.verdict.kind for entry in run.verdicts}
    assert set(kinds) == {"one_video", "text_only", "two_images"}
    if action:
        assert set(kinds.values()) == {VerdictKind.HARNESS_ERROR}
        reason = run.verdicts[0].verdict.reason
        assert reason.startswith(f"the harness failed while {action}: TypeError: ")
    assert run.passes == (not action)


def test_unsupported_case_passes(engine: RunPytest) -> None:
    result = engine("--engine-arg", "inputs one_video=say no")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*This run passes."])


def test_half_deleted_checkpoint_in_the_cache_is_named_and_built_again(
    engine: RunPytest, pytester: pytest.Pytester, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def run_child(name: str, folder: Path) -> None:
        built.append(name)
        shutil.copytree(pytester.path / "tiny model", folder, dirs_exist_ok=True)

    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    monkeypatch.setattr("vlm_parity.models.build._get_version", lambda _: "1")
    monkeypatch.setattr("vlm_parity.models.build._run_child", run_child)
    arguments = ("--model", "qwen2_vl", "-k", "qwen2_vl-tiny and text_only and spans")
    assert engine(*arguments).ret == pytest.ExitCode.OK
    (folder,) = (cache / "models").iterdir()
    (folder / "tokenizer.json").unlink()
    result = engine(*arguments)
    assert result.ret == pytest.ExitCode.OK
    assert built == ["qwen2_vl", "qwen2_vl"]
    assert (folder / "tokenizer.json").exists()
    result.stdout.fnmatch_lines(
        [f"*[[]qwen2_vl] damaged, so it is thrown away and built again: {folder}/tokenizer.json: missing, *"]
    )


def test_invalid_model_is_resolved_once_and_reported_without_traceback(
    engine: RunPytest, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    (pytester.mkdir("no_checkpoint") / "config.json").write_text("{}")
    specs: list[str] = []

    def record(spec: str, **_: object) -> object:
        specs.append(spec)
        return resolve_model(spec)

    monkeypatch.setattr(
        "vlm_parity.session.checkpoints.resolve_model",
        record,
    )
    result = engine("--model", "no_checkpoint", "-k", "no_checkpoint and spans")
    assert list_failures(result) == [
        f"test_spans[no_checkpoint-tiny_engine-{case}]" for case in ("one_video", "text_only", "two_images")
    ]
    assert specs == ["no_checkpoint"]
    result.stdout.fnmatch_lines(["*config.json: no JSON object with a model_type: *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_unreadable_medium_is_usage_error(engine: RunPytest, pytester: pytest.Pytester) -> None:
    path = pytester.path / "cases" / "conversations" / "broken.yaml"
    path.write_text("summary: s\nmessages: [{role: user, content: [{image: {file: missing.png}}]}]\n")
    result = engine()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "case broken, image 0 (" in text
    assert "Traceback" not in text


def test_engine_that_is_not_installed_fails_its_tests_before_references_are_captured(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: name != "vllm" or None)
    result = engine("--backend", "vllm", "--case", "text_only", "-k", "vllm and spans")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["vllm is not installed in this environment: run `pip install vllm`*"])
    assert count_loads(pytester) == {}


def test_test_that_fails_without_verdict_makes_run_fail(engine: RunPytest, pytester: pytest.Pytester) -> None:
    """Such a test would be missing from the report, which may be all that is left of the session."""
    (pytester.path / "cases" / "test_own.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.parity_tokens\n"
        "def test_own(parity_comparison):\n"
        "    assert parity_comparison.verdict.case != 'two_images'\n"
    )
    engine("--shard", "p", "--engine-arg", "wrong id text_only=yes").assert_outcomes(
        passed=16, failed=3, skipped=2
    )
    run = load_run(pytester.path / "run")
    (reason,) = (shard.incomplete_reason for shard in run.shards)
    test = "cases/test_own.py::test_own[tiny-model-tiny_engine-two_images]"
    assert reason == f"tests failed that no verdict explains: {test}"


def test_exit_code_is_about_own_shards(engine: RunPytest, pytester: pytest.Pytester) -> None:
    earlier = ShardWriter(pytester.path / "run" / "shards" / "earlier", "pytest cases", {})
    earlier.start(())
    assert engine("--shard", "p").ret == pytest.ExitCode.OK
    assert not load_run(pytester.path / "run").passes
