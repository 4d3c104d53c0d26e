"""Chat completions of the engines' servers, converted to outputs; their command lines."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import Any

import numpy as np
import pytest

from vlm_parity.backends.base import Settings
from vlm_parity.backends.lmdeploy import server as lmdeploy_server
from vlm_parity.backends.server.response import ServerResponse
from vlm_parity.backends.vllm import server as vllm_server
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


def change_completion(completion: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a completion with different fields in its choice, or at its top level."""
    choice = completion["choices"][0]
    inside = {name: value for name, value in fields.items() if name in choice}
    outside = {name: value for name, value in fields.items() if name not in choice}
    return {**completion, "choices": [{**choice, **inside}], **outside}


def test_vllm_returns_the_prompt_its_ids_and_log_probabilities_by_id() -> None:
    response = vllm_server.read_response(VLLM, None)
    assert (response.prompt, response.input_ids, response.tokens) == ("<user>hi", (1, 2, 4), (7, 9))
    outputs = response.build_outputs()
    assert outputs.prefill is None
    assert outputs.decode is None
    assert outputs.greedy == outputs.continuation == (7, 9)
    prefill, decode = outputs.top_logprobs[Stage.PREFILL], outputs.top_logprobs[Stage.DECODE]
    np.testing.assert_array_equal(prefill.rows, [0, 1, 2])
    np.testing.assert_array_equal(prefill.ids, [[2, 5], [4, -1], [7, 3]])
    expected = np.array([[-3, -4], [-6, np.nan], [-1, -2]], np.float32)
    np.testing.assert_array_equal(prefill.logprobs, expected)
    np.testing.assert_array_equal(decode.rows, [0])
    np.testing.assert_array_equal(decode.ids, [[9]])


def test_lmdeploy_returns_the_prompt_length_and_the_generated_ids() -> None:
    response = lmdeploy_server.read_response(LMDEPLOY, Vocabulary())
    assert (response.prompt, response.input_ids, response.prompt_tokens) == (None, None, 3)
    outputs = response.build_outputs()
    assert outputs.greedy == (7, 9)
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.PREFILL].rows, [2])
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.PREFILL].ids, [[7, 3]])
    np.testing.assert_array_equal(outputs.top_logprobs[Stage.DECODE].ids, [[9]])  # no id has the entry "?"


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"token_ids": None}, "token_ids"),
        ({"prompt_token_ids": None}, "prompt_token_ids"),
        ({"logprobs": None}, "logprobs"),
        ({"choices": []}, "0 choices"),
        ({"prompt_logprobs": None}, "prompt_logprobs"),
    ],
)
def test_an_error_names_a_missing_field(fields: dict[str, Any], missing: str) -> None:
    with pytest.raises(UnexpectedResponseError, match=missing):
        vllm_server.read_response(change_completion(VLLM, **fields), None)


@pytest.mark.parametrize(
    "response",
    [
        ServerResponse(tokens=(1, 2), generated=[{1: -1.0}], prompt_tokens=3),
        ServerResponse(tokens=(), generated=[], prompt_tokens=3),
        ServerResponse(tokens=(1,), generated=[{1: -1.0}], prompt_tokens=3, top_logprobs=[None]),
    ],
    ids=["a list is missing", "no token", "a list of the prompt is missing"],
)
def test_a_different_number_of_tokens_and_lists_is_an_error(response: ServerResponse) -> None:
    with pytest.raises(UnexpectedResponseError, match="lists of log-probabilities"):
        response.build_outputs()


def test_the_command_line_has_the_arguments_of_vllms_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "version", lambda _: "0.32.0")
    arguments = {"model": "/m", "dtype": "float32", "enforce_eager": True, "enable_prefix_caching": False}
    command = vllm_server.build_command({**arguments, "limit_mm_per_prompt": {"image": 2}}, 80)
    assert command[3:] == [
        *("serve", "/m", "--host", "127.0.0.1", "--port", "80", "--dtype", "float32", "--enforce-eager"),
        *("--no-enable-prefix-caching", "--limit-mm-per-prompt", '{"image": 2}'),
    ]


def test_lmdeploys_server_lists_log_probabilities() -> None:
    backend = lmdeploy_server.LmdeployServerBackend(Settings())
    assert backend._select_engine_args()["logprobs_mode"] == "raw_logprobs"


def test_without_a_distribution_named_vllm_its_module_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(vllm_server, "version", raise_missing)
    assert vllm_server.build_command({"model": "/m"}, 80)[2:5] == [
        *("vllm.entrypoints.openai.api_server", "--model", "/m"),
    ]
