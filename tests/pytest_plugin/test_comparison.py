"""What a test does with a verdict: pass, fail or skip, and what it says."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.support.traces import NOTHING, OnDisk, failed, trace
from vlm_parity.pytest_plugin.comparison import Comparison
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.errors import MissingTraceError
from vlm_parity.verdicts.known_issues import Entry, with_ledger


def outcome(on_disk: OnDisk, stage: str, **tested: Any) -> str:
    on_disk.write(on_disk.tested, trace(**tested))
    return said(on_disk, stage)


def said(on_disk: OnDisk, stage: str, *known: Entry) -> str:
    """``passed``, or ``failed: ...``, ``expected: ...`` or ``skipped: ...`` with the message."""
    try:
        Comparison(lambda: with_ledger(on_disk.judge(), known, date.min)).check(stage)
    except pytest.xfail.Exception as expected:  # a kind of failure
        return f"expected: {expected.msg}"
    except pytest.fail.Exception as failure:
        return f"failed: {failure.msg}"
    except pytest.skip.Exception as skip:
        return f"skipped: {skip.msg}"
    return "passed"


def test_a_match_passes(on_disk: OnDisk) -> None:
    assert outcome(on_disk, "prompt") == "passed"


def test_a_mismatch_fails_with_all_that_one_needs(on_disk: OnDisk) -> None:
    assert outcome(on_disk, "prompt", prompt="other").splitlines() == [
        "failed: one_image: qwen2_vl in vllm against transformers",
        "prompts differ at character 0",
        "     side  text around it",
        "reference  '<user>Look: <image>What is it?<assistant>'",
        "     vllm  'other'",
        "reproduce: pytest cases --case one_image",
    ]


def test_a_consequence_says_so(on_disk: OnDisk) -> None:
    text = outcome(on_disk, "greedy", prompt="other", greedy=(1,))
    assert "\n(a consequence: the two part ways at prompt already)\nreproduce: " in text


def test_a_stage_that_was_not_compared_is_skipped_and_says_why(on_disk: OnDisk) -> None:
    assert outcome(on_disk, "spans", spans=None) == (
        "skipped: not compared: vllm captured nothing for this stage"
    )
    assert outcome(on_disk, "prefill", input_ids=(1,)) == (
        "skipped: mismatch: the ids differ, so the positions have no counterpart"
    )


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        ("unsupported", "skipped: unsupported: no videos"),
        ("refused", "failed: one_image: qwen2_vl in vllm against transformers\nerror: no videos\n"),
        ("error", "failed: one_image: qwen2_vl in vllm against transformers\nerror: no videos\n"),
        ("crash", "failed: one_image: qwen2_vl in vllm against transformers\ncrash: no videos\n"),
    ],
)
@pytest.mark.parametrize("stage", ["prompt", "greedy"])
def test_a_backend_without_an_answer(on_disk: OnDisk, stage: str, tested: str, expected: str) -> None:
    on_disk.write(on_disk.tested, failed(Outcome(tested), message="no videos"))
    assert said(on_disk, stage).startswith(expected)


def test_agreement_in_refusing_is_skipped(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, failed(Outcome.REFUSED, "transformers"))
    on_disk.write(on_disk.tested, failed(Outcome.REFUSED))
    assert said(on_disk, "prompt").startswith("skipped: refused: ")


def test_serving_what_the_reference_refuses_fails(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, failed(Outcome.REFUSED, "transformers", "no such picture"))
    text = said(on_disk, "prompt")
    assert "\nmismatch: transformers refuses it, vllm serves it: no such picture\n" in text


def at(stage: str) -> Entry:
    """An entry of the ledger."""
    return Entry(
        name="e", backend="vllm", case=("*",), stage=stage, upstream="u", expires=date.max, note="Why."
    )


def test_what_the_ledger_knows_is_expected_to_fail(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(prompt="other", greedy=(1,)))
    words = "expected: e: Why. Upstream: u. Known until 9999-12-31."
    assert said(on_disk, "prompt", at("prompt")) == said(on_disk, "greedy", at("prompt")) == words
    assert said(on_disk, "spans", at("prompt")) == "passed"
    assert said(on_disk, "prompt", at("greedy")).startswith("failed: ")


def test_what_is_fixed_fails_until_the_ledger_says_so(on_disk: OnDisk) -> None:
    assert "\nfixed: no mismatch at prompt, " in said(on_disk, "spans", at("prompt"))


def test_serving_what_the_reference_refuses_can_be_known(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, failed(Outcome.REFUSED, "transformers"))
    assert said(on_disk, "greedy", at("refusal")).startswith("expected: e: Why.")


def test_an_invalid_reference_fails_even_where_the_two_agree(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, trace("transformers", outcome=Outcome.ERROR, message="out of memory"))
    text = said(on_disk, "prompt")
    assert "\ninvalid: the reference has no answer: error: out of memory\n" in text


def test_nothing_compared_fails(on_disk: OnDisk) -> None:
    assert outcome(on_disk, "prompt", **NOTHING).startswith("failed: ")


def test_what_ends_before_a_comparison_is_said_without_a_traceback() -> None:
    def verdict() -> Verdict:
        raise MissingTraceError("the run holds no traces")

    with pytest.raises(pytest.fail.Exception, match=r"^the run holds no traces$") as caught:
        Comparison(verdict).check(Stage.PROMPT)
    assert not caught.value.pytrace


def test_an_unknown_stage_is_an_error(on_disk: OnDisk) -> None:
    with pytest.raises(ValueError, match="'logits' is not a valid Stage"):
        Comparison(on_disk.judge).check("logits")
