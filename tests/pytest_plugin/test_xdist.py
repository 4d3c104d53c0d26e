"""Sessions with pytest-xdist: all cases of an engine go to one worker, with the same verdicts."""

from __future__ import annotations

import pytest

pytest.importorskip("xdist")

from tests.support.plugin_sessions import AGAIN, BOTH, PLUGIN, RunPytest, WriteTraces, list_failures
from tests.support.traces import ARRAYS, PREFILL
from vlm_parity.pytest_plugin.xdist import get_engine_scope
from vlm_parity.report.load_run import load_run

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("test", "engine"),
    [
        ("test_prompt[qwen2_vl-vllm-two_images]", "qwen2_vl-vllm"),
        ("test_greedy[qwen2_vl-lmdeploy-two_images]", "qwen2_vl-lmdeploy"),
        ("test_prompt[Qwen--Qwen3-VL-2B-vllm-text_only]", "Qwen--Qwen3-VL-2B-vllm"),
        ("test_prompt[a-vllm-model-lmdeploy-text_only]", "a-vllm-model-lmdeploy"),
        ("test_prompt[qwen2_vl-vllm-chunked_prefill-two_images]", "qwen2_vl-vllm-chunked_prefill"),
        ("test_prompt[a-vllm-model-lmdeploy-cached-text_only]", "a-vllm-model-lmdeploy-cached"),
        ("test_prompt[qwen2_vl-vllm-token_ids-two_images]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-vllm-text-text]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-vllm-text]", "qwen2_vl-vllm"),
        ("test_prompt[qwen2_vl-another-text_only]", None),
        ("test_prompt", None),
        ("test_prompt[0]", None),
    ],
)
def test_engine_scope(test: str, engine: str | None) -> None:
    assert get_engine_scope(f"cases/test_input.py::{test}") == engine


def test_workers_produce_same_verdicts(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    moved = PREFILL.copy()
    moved[4, 0] += 1
    earlier_run({**ARRAYS, "prefill": moved})
    parity(*AGAIN, *BOTH, "--run", "alone")
    result = parity(*AGAIN, *BOTH, "--run", "shared", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list_failures(result) == ["test_prefill[qwen2_vl-vllm-two_images]"]
    alone, shared = (load_run(pytester.path / name) for name in ("alone", "shared"))
    assert [entry.verdict for entry in shared.verdicts] == [entry.verdict for entry in alone.verdicts]
    assert not shared.incomplete
    assert not shared.problems


def test_workers_report_usage_errors(parity: RunPytest) -> None:
    result = parity("--backend", "vlm", "-n", "1")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*UsageError: --parity-backend vlm: no such backend; did you mean vllm*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_session_with_workers_but_without_fixture_is_unaffected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess(*PLUGIN, "-n", "1")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "reports").exists()


def test_worker_that_ends_makes_run_fail(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    """It reports nothing: another worker runs the rest, and all verdicts may pass."""
    earlier_run()
    (pytester.path / "cases" / "test_input.py").write_text(
        "import os, pathlib, pytest\n"
        "pytestmark = pytest.mark.parity_tokens\n"
        "def test_prompt(parity_comparison):\n"
        "    if not pathlib.Path('ended').exists():\n"
        "        pathlib.Path('ended').touch()\n"
        "        os._exit(1)\n"
        "    parity_comparison.check('prompt')\n"
    )
    result = parity(*AGAIN, *BOTH, "--shard", "p", "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    reasons = {shard.name: shard.incomplete_reason for shard in load_run(pytester.path / "run").shards}
    assert reasons["p"].startswith("tests failed that no verdict explains: cases/test_input.py::test_prompt[")
