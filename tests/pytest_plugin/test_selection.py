"""Selection of tests: ids, models, modes, entry points, cases, depth."""

from __future__ import annotations

import shutil

import pytest

from tests.support.plugin_sessions import (
    ALL_SETUPS,
    CASES,
    EVERY_STAGE,
    STAGES,
    RunPytest,
    list_ids,
    list_selected,
)

pytest_plugins = ["pytester"]


def test_id_names_stage_model_backend_and_case(parity: RunPytest) -> None:
    ids = [f"test_{stage}[qwen2_vl-vllm-two_images]" for stage in EVERY_STAGE]
    assert list_ids(parity, "--case", "two_images") == ids


def test_id_names_mode_other_than_default(parity: RunPytest) -> None:
    modes = ("--mode", "chunked_prefill", "--mode", "default")
    ids = list_ids(parity, "--case", "two_images", "-k", "greedy", *modes)
    assert ids == [f"test_greedy[qwen2_vl-{label}-two_images]" for label in ("vllm-chunked_prefill", "vllm")]


def test_all_selects_every_setup_of_backend(parity: RunPytest) -> None:
    ids = list_ids(parity, "--case", "two_images", "-k", "greedy", *ALL_SETUPS)
    labels = ("vllm", "vllm-text", "vllm-token_ids", "vllm-server",
              "vllm-batched", "vllm-chunked_prefill", "vllm-prefix_cached")  # fmt: skip
    assert ids == [f"test_greedy[qwen2_vl-{label}-two_images]" for label in labels]


def test_depth_tokens_has_one_mode_and_no_server(parity: RunPytest) -> None:
    ids = list_ids(parity, "--case", "two_images", "-k", "spans", *ALL_SETUPS, "--depth", "tokens")
    labels = ("vllm", "vllm-text", "vllm-token_ids")
    assert ids == [f"test_spans[qwen2_vl-{label}-two_images]" for label in labels]


def test_case_at_depth_tokens_has_no_output_tests(parity: RunPytest, pytester: pytest.Pytester) -> None:
    shutil.copy(CASES / "conversations" / "png_file.yaml", pytester.path / "cases" / "conversations")
    ids = list_ids(parity, "--case", "png_file", *ALL_SETUPS)
    labels = ("vllm", "vllm-text", "vllm-token_ids")
    assert ids == [f"test_{name}[qwen2_vl-{label}-png_file]" for label in labels for name in STAGES["tokens"]]


def test_default_models_are_three_families(parity: RunPytest) -> None:
    result = parity("--collect-only", "-q", "--backend", "vllm", "--case", "text_only", "--depth", "tokens")
    models = {name.partition("[")[2].partition("-")[0] for name in list_selected(result)}
    assert models == {"qwen2_vl", "qwen2_5_vl", "qwen3_vl"}


def test_tests_are_grouped_by_engine(parity: RunPytest) -> None:
    ids = list_ids(parity, "--backend", "lmdeploy", "--case", "text_only")
    engines = [name.partition("[")[2] for name in ids]
    assert engines == ["qwen2_vl-vllm-text_only]"] * 6 + ["qwen2_vl-lmdeploy-text_only]"] * 6


def test_depth_tokens_deselects_output_tests(parity: RunPytest) -> None:
    ids = list_ids(parity, "--case", "text_only", "--depth", "tokens")
    assert ids == [f"test_{stage}[qwen2_vl-vllm-text_only]" for stage in STAGES["tokens"]]


@pytest.mark.parametrize(
    ("selection", "cases"),
    [
        (("--case", "two_*"), {"two_images"}),
        (("--case", "*o*_*"), {"two_images", "one_video"}),
        (("--case", "text_only", "--case", "one_video"), {"text_only", "one_video"}),
        (("-m", "parity_video"), {"one_video"}),
        (("-m", "parity_image"), {"two_images"}),
        (("-m", "parity_text"), {"text_only"}),
        (("-m", "parity_qwen2_vl and parity_vllm and not parity_video"), {"text_only", "two_images"}),
        (("-m", "parity_qwen3_vl"), set()),
        (("-k", "two"), {"two_images"}),
    ],
)
def test_cases_are_selected_by_pattern_and_marker(
    parity: RunPytest, selection: tuple[str, ...], cases: set[str]
) -> None:
    ids = list_ids(parity, "--depth", "tokens", *selection)
    assert {name.rpartition("-")[2].rstrip("]") for name in ids} == cases


def test_collection_loads_no_engine(parity: RunPytest, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import sys
        def pytest_unconfigure():
            print("loaded:", {"torch", "transformers", "vllm", "lmdeploy"} & set(sys.modules) or None)
    """)
    result = parity("--collect-only", "-q", "--backend", "vllm", run=pytester.runpytest_subprocess)
    assert len(list_selected(result)) == 3 * 3 * 6
    result.stdout.fnmatch_lines(["loaded: None"])
    assert not (pytester.path / "run").exists()


def test_options_are_in_help(parity: RunPytest) -> None:
    text = parity("--help").stdout.str()
    assert "vlm-parity: serving engines against transformers:" in text
    assert "--keep-logits" in text
