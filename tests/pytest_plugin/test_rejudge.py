"""Sessions on the stored traces of an earlier run; no engine starts."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from tests.support.plugin_sessions import (
    AGAIN,
    BOTH,
    CASES,
    RunPytest,
    WriteTraces,
    list_failures,
    name_case,
    write_module,
)
from tests.support.traces import ARRAYS, IDS, PREFILL, make_trace
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.record import read_record
from vlm_parity.schema.run import Shard
from vlm_parity.schema.verdict import VerdictKind

pytest_plugins = ["pytester"]


def test_equal_traces_pass_and_write_report(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    result = parity(*AGAIN, *BOTH, "--shard", "again")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["None of 2 comparisons differs. This run passes."])
    folder = pytester.path / "run"
    assert (folder / "index.html").is_file()
    assert json.loads((folder / "report.json").read_text())["run"]["passes"] is True
    shard = read_record(folder / "shards" / "again" / "shard.json", Shard)
    assert (shard.expected, shard.backends, list(shard.cases)) == (2, ("vllm",), ["text_only", "two_images"])
    assert shard.finished


def test_wrong_token_fails_input_ids_test_with_message(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run(input_ids=(*IDS[:-1], 12))
    result = parity(*AGAIN, *BOTH)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list_failures(result) == ["test_input_ids[qwen2_vl-vllm-two_images]"]
    result.assert_outcomes(passed=9, failed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "two_images: qwen2_vl in vllm against transformers",
            "input_ids differ: 12 in the reference, 12 in vllm; first at index 11, 1 positions differ",
            ">  11     <assistant> (7)  . (12)",
            "reproduce: parity run --depth logits --backend vllm --model qwen2_vl --case two_images",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED * mismatch: the ids differ, so the positions have no counterpart"])
    assert "harness/" not in "".join(line for line in result.outlines if "SKIPPED" not in line)


def test_wrong_row_fails_prefill_test(parity: RunPytest, earlier_run: WriteTraces) -> None:
    moved = PREFILL.copy()
    moved[4, moved[4].argmax()] += 1e-3
    earlier_run({**ARRAYS, "prefill": moved})
    result = parity(*AGAIN, *BOTH)
    assert list_failures(result) == ["test_prefill[qwen2_vl-vllm-two_images]"]
    result.stdout.fnmatch_lines(["prefill log-probabilities differ at 1 of 12 positions"])


def test_later_difference_is_marked_as_consequence(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run(prompt="other", input_ids=(*IDS[:-1], 12), greedy=(1, 2, 3))
    result = parity(*AGAIN, *BOTH)
    assert list_failures(result) == [
        f"test_{name}[qwen2_vl-vllm-two_images]" for name in ("prompt", "input_ids", "greedy")
    ]
    result.stdout.fnmatch_lines(["(a consequence: prompt differs already)"])


def test_each_mode_is_compared_by_its_own_traces(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    folder = pytester.path / "earlier" / "shards" / "vllm" / "traces" / "qwen2_vl" / "vllm-chunked_prefill"
    trace = make_trace(**name_case("text_only"), mode="chunked_prefill", prompt="other")
    trace.write(folder / "text_only", ARRAYS)
    result = parity(*AGAIN, "--case", "text_only", "--mode", "default", "--mode", "chunked_prefill")
    assert list_failures(result) == ["test_prompt[qwen2_vl-vllm-chunked_prefill-text_only]"]
    result.stdout.fnmatch_lines(
        [
            "text_only: qwen2_vl in vllm-chunked_prefill against transformers",
            "reproduce: parity run --depth logits --backend vllm --model qwen2_vl --mode chunked_prefill "
            "--case text_only",
        ]
    )
    run = load_run(pytester.path / "run")
    assert not run.problems
    assert {entry.verdict.mode for entry in run.verdicts} == {"default", "chunked_prefill"}
    assert len({entry.page for entry in run.verdicts}) == 2


def test_missing_trace_fails_tests_that_need_it(parity: RunPytest, earlier_run: WriteTraces) -> None:
    earlier_run()
    result = parity(*AGAIN, "-k", "prompt")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list_failures(result) == ["test_prompt[qwen2_vl-vllm-one_video]"]
    result.stdout.fnmatch_lines(
        [
            "earlier: holds no traces of both sides for model qwen2_vl, backend vllm, case one_video; "
            "make them with --keep-logits"
        ]
    )


def test_each_folder_of_test_modules_has_its_own_cases(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    (pytester.path / "cases" / "conversations" / "two_images.yaml").unlink()
    other = pytester.mkdir("other")
    (other / "conversations").mkdir()
    (other / "test_other_input.py").write_text(write_module("tokens"))
    shutil.copy(CASES / "conversations" / "two_images.yaml", other / "conversations")
    result = parity(*AGAIN, "other", "--depth", "tokens", "-k", "not one_video")
    result.assert_outcomes(passed=6, deselected=9)


def test_only_selected_tests_are_expected(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run(prompt="other")
    result = parity(*AGAIN, "-m", "parity_text", "-k", "spans")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=17)
    (entry,) = load_run(pytester.path / "run").verdicts
    assert (entry.verdict.case, entry.verdict.kind) == ("text_only", VerdictKind.MATCH)


def test_shard_of_same_name_is_replaced(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    parity(*AGAIN, *BOTH, "--shard", "again")
    parity(*AGAIN, "--case", "text_only", "--shard", "again")
    assert [entry.verdict.case for entry in load_run(pytester.path / "run").verdicts] == ["text_only"]


def test_interrupted_session_keeps_its_verdicts(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    pytester.makeconftest("""
        import pytest
        def pytest_runtest_setup(item):
            if item.originalname == "test_prefill":
                raise KeyboardInterrupt
    """)
    result = parity(*AGAIN, *BOTH, run=partial(pytester.runpytest_inprocess, no_reraise_ctrlc=True))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    run = load_run(pytester.path / "run")
    assert len(run.verdicts) == 2
    assert [shard.incomplete_reason for shard in run.incomplete] == ["its session was interrupted"]


def test_a_session_does_not_replace_the_shard_whose_traces_it_reads(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    shard = next((pytester.path / "earlier" / "shards").iterdir())
    stored = sorted(path for path in shard.rglob("*") if path.is_file())
    result = parity(*AGAIN, *BOTH, "--run", "earlier", "--shard", shard.name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*would replace *, whose traces this session reads; use another name"])
    references = ("--reference-traces", str(shard), "--run", "earlier", "--shard", shard.name)
    assert parity("--backend", "vllm", *BOTH, *references).ret == pytest.ExitCode.USAGE_ERROR
    assert sorted(path for path in shard.rglob("*") if path.is_file()) == stored
