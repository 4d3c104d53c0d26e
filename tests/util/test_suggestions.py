"""Errors about unknown names."""

from __future__ import annotations

import pytest

from vlm_parity.util.suggestions import describe_unknown_name, quote_name, suggest_names


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("vlm", "did you mean vllm?"),
        ("VLLM", "did you mean vllm?"),
        ("qwen2.5-vl", "did you mean qwen2_5_vl?"),
        ("token-ids", "did you mean token_ids?"),
        ("transformer", "did you mean transformers?"),
        ("nothing like them", ""),
        ("", ""),
    ],
)
def test_closest_names_are_suggested(name: str, question: str) -> None:
    assert suggest_names(name, ["vllm", "qwen2_5_vl", "token_ids", "transformers"]) == question


def test_all_names_follow_the_suggestion() -> None:
    assert describe_unknown_name("--backend", "vlm", ["lmdeploy", "vllm"], "no such backend") == (
        "--backend vlm: no such backend; did you mean vllm? there are: lmdeploy, vllm"
    )
    assert describe_unknown_name("--fault", "x", ["a b", "c d"], "none", one_per_line=True) == (
        "--fault x: none; there are:\n  a b\n  c d"
    )


def test_long_list_is_left_out_if_a_name_is_close() -> None:
    names = [f"case_{letter}" for letter in "abcdefghijklmnopq"]
    assert describe_unknown_name("--case", "case_aa", names, "no such case") == (
        "--case case_aa: no such case; did you mean case_a or case_q or case_p?"
    )
    assert describe_unknown_name("--case", "x", names, "no such case").endswith("case_o, case_p, case_q")


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("vlm", "vlm"), ("two words", "two words"), ("", "''"), (" x", "' x'"), ("a\nb", r"'a\nb'")],
)
def test_name_that_could_not_be_seen_is_quoted(name: str, quoted: str) -> None:
    assert quote_name(name) == quoted
    assert len(quote_name("x" * 5000)) < 200
