"""The ``--parity-model-list`` option."""

from __future__ import annotations

import pytest

from tests.support.plugin_sessions import RunPytest, list_selected

pytest_plugins = ["pytester"]


LISTED = """
[[model]]
name = "small"
hub_id = "org/small"
revision = "main"
family = "paligemma_of_nobody"
memory_gib = 1
dtype = "bfloat16"
[[model]]
name = "images"
hub_id = "org/images"
revision = "0123456789012345678901234567890123456789"
family = "qwen2_vl"
memory_gib = 1
dtype = "bfloat16"
"""


def test_name_in_model_list_is_a_model(parity: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "cases" / "models.toml").write_text(LISTED)
    result = parity("--collect-only", "-q", "--backend", "vllm", "--model", "small", "--case", "text_only")
    assert list_selected(result)[0] == "test_prompt[small-vllm-text_only]"


def test_model_list_option_selects_all_its_models(parity: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "nightly.toml").write_text(LISTED)
    asked = ("--collect-only", "-q", "--backend", "vllm", "--case", "text_only", "--depth", "tokens")
    result = parity(*asked, "--model-list", "nightly.toml")
    assert {name.partition("[")[2].partition("-")[0] for name in list_selected(result)} == {"small", "images"}


def test_unreadable_model_list_is_usage_error(parity: RunPytest, pytester: pytest.Pytester) -> None:
    (pytester.path / "nightly.toml").write_text("[[model]]")
    result = parity("--backend", "vllm", "--model-list", "nightly.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nightly.toml:1: entry 1, name: is missing"])
