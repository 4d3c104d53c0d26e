"""What the engines' servers answer, as rows of log-probabilities, ids and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vlm_parity.backends.lmdeploy import server as lmdeploy_served
from vlm_parity.backends.server.response import ServerResponse
from vlm_parity.backends.vllm import server as vllm_served
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnexpectedResponseError

VLLM: dict[str, Any] = {
    "choices": [
        {
            "token_ids": [7, 9],
            "logprobs": {
                "content": [
                    {"token": "token_id:7", "logprob": -1.0, "top_logprobs": _top}
                    for _top in (
                        [{"token": "token_id:7", "logprob": -1.0}, {"token": "token_id:3", "logprob": -2.0}],
                        [{"token": "token_id:9", "logprob": -0.5}],
                    )
                ]
            },
        }
    ],
    "usage": {"prompt_tokens": 3},
    "prompt_token_ids": [1, 2, 4],
    "prompt_text": "<user>hi",
    "prompt_logprobs": [None, {"2": {"logprob": -3.0}, "5": {"logprob": -4.0}}, {"4": {"logprob": -6.0}}],
}
LMDEPLOY: dict[str, Any] = {
    "choices": [
        {
            "output_ids": [7, 9],
            "logprobs": {
                "content": [
                    {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]},
                    {"token": "c", "logprob": -0.5, "top_logprobs": [{"token": "?", "logprob": -3.0}]},
                ]
            },
        }
    ],
    "usage": {"prompt_tokens": 3},
}


class Vocabulary:
    """A tokenizer with three entries."""

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int | None]:
        return [{"a": 7, "b": 3, "c": 9}.get(token) for token in tokens]


def changed(answer: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The answer with other fields in its choice, or at its top."""
    choice = answer["choices"][0]
    inside = {name: value for name, value in fields.items() if name in choice}
    outside = {name: value for name, value in fields.items() if name not in choice}
    return {**answer, "choices": [{**choice, **inside}], **outside}


def test_vllm_says_text_ids_and_log_probabilities_by_id() -> None:
    answer = vllm_served.read_response(VLLM, None)
    assert (answer.prompt, answer.input_ids, answer.tokens) == ("<user>hi", (1, 2, 4), (7, 9))
    outputs = answer.outputs()
    assert outputs.prefill is None
    assert outputs.decode is None
    assert outputs.greedy == outputs.continuation == (7, 9)
    prefill, decode = outputs.top_logprobs[Stage.PREFILL], outputs.top_logprobs[Stage.DECODE]
    np.testing.assert_array_equal(prefill.rows, [0, 1, 2])
    np.testing.assert_array_equal(prefill.ids, [[2, 5], [4, -1], [7, 3]])
    np.testing.assert_array_equal(prefill.logprobs, np.float32([[-3, -4], [-6, np.nan], [-1, -2]]))
    np.testing.assert_array_equal(decode.rows, [0])
    np.testing.assert_array_equal(decode.ids, [[9]])


def test_lmdeploy_says_a_count_and_the_generated_ids() -> None:
    answer = lmdeploy_served.read_response(LMDEPLOY, Vocabulary())
    assert (answer.prompt, answer.input_ids, answer.prompt_tokens) == (None, None, 3)
    outputs = answer.outputs()
    assert outputs.greedy == (7, 9)
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.PREFILL].rows, [2])
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.PREFILL].ids, [[7, 3]])
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.DECODE].ids, [[9]])  # no id has the entry "?"


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"token_ids": None}, "token_ids"),
        ({"prompt_token_ids": None}, "prompt_token_ids"),
        ({"logprobs": None}, "logprobs"),
        ({"choices": []}, "0 choices"),
        ({"prompt_logprobs": None}, "prompt_logprobs"),
    ],
)
def test_an_answer_without_what_was_asked_for_says_what(fields: dict[str, Any], left_out: str) -> None:
    with pytest.raises(UnexpectedResponseError, match=left_out):
        vllm_served.read_response(changed(VLLM, **fields), None)


@pytest.mark.parametrize(
    "answer",
    [
        ServerResponse(tokens=(1, 2), generated=[{1: -1.0}], prompt_tokens=3),
        ServerResponse(tokens=(), generated=[], prompt_tokens=3),
        ServerResponse(tokens=(1,), generated=[{1: -1.0}], prompt_tokens=3, top_logprobs=[None]),
    ],
    ids=["a list is missing", "no token", "a list of the prompt is missing"],
)
def test_tokens_and_lists_have_to_fit(answer: ServerResponse) -> None:
    with pytest.raises(UnexpectedResponseError, match="lists of log-probabilities"):
        answer.outputs()


def test_vllm_is_told_on_the_command_line_what_its_constructor_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_served, "version", lambda _: "0.32.0")
    told = {"model": "/m", "dtype": "float32", "enforce_eager": True, "enable_prefix_caching": False}
    words = vllm_served.build_command({**told, "limit_mm_per_prompt": {"image": 2}}, 80)
    assert words[3:] == [
        *("serve", "/m", "--host", "127.0.0.1", "--port", "80", "--dtype", "float32", "--enforce-eager"),
        *("--no-enable-prefix-caching", "--limit-mm-per-prompt", '{"image": 2}'),
    ]


def test_where_no_distribution_is_named_vllm_its_module_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise vllm_served.PackageNotFoundError(name)

    monkeypatch.setattr(vllm_served, "version", missing)
    assert vllm_served.build_command({"model": "/m"}, 80)[2:5] == [
        *("vllm.entrypoints.openai.api_server", "--model", "/m"),
    ]
