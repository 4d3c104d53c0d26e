"""What a server answers to a chat completion, as what a trace holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm_parity.backends.base import Outputs, TopLogprobs
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnexpectedResponseError

HIDDEN = dict.fromkeys(
    (Stage.SPANS, Stage.MEDIA, Stage.POSITIONS, Stage.VISION), "a chat completion does not show it"
)
Logprobs = Mapping[int, float]
"""The log-probabilities of a few ids at one position."""


@dataclass(frozen=True)
class ServerResponse:
    """What one server said, in its own form or another."""

    tokens: tuple[int, ...]
    """The generated ones."""
    generated: Sequence[Logprobs]
    """What was listed for each of them."""
    prompt_tokens: int
    """How many ids the prompt had, by ``usage``."""
    input_ids: tuple[int, ...] | None = None
    prompt: str | None = None
    top_logprobs: Sequence[Logprobs | None] = field(default_factory=tuple)
    """What was listed for each id of the prompt; None for one that has nothing before it."""

    def outputs(self) -> Outputs:
        """The part that the engine's answer is.

        Raises:
            UnexpectedResponseError: there is not one list for each token.
        """
        lists = len(self.generated), len(self.top_logprobs)
        if not self.tokens or lists[0] != len(self.tokens) or lists[1] not in {0, self.prompt_tokens}:
            raise UnexpectedResponseError(
                f"{len(self.tokens)} tokens after {self.prompt_tokens}, but {lists[0]} and {lists[1]} "
                "lists of log-probabilities"
            )
        # What is said of a token was computed at the position before it.
        rows = {place - 1: row for place, row in enumerate(self.top_logprobs) if place and row is not None}
        return Outputs(
            prefill=None,
            decode=None,
            continuation=self.tokens,
            greedy=self.tokens,
            top_logprobs={
                Stage.PREFILL: build_top_logprobs({**rows, self.prompt_tokens - 1: self.generated[0]}),
                Stage.DECODE: build_top_logprobs(dict(enumerate(self.generated[1:]))),
            },
            mode_note="asked over HTTP with the openai client",
        )


def build_top_logprobs(rows: Mapping[int, Logprobs]) -> TopLogprobs:
    """The rows of one stage as arrays.

    Args:
        rows: what was listed, by the row's number.
    """
    width = max((len(row) for row in rows.values()), default=0)
    ids = np.full((len(rows), width), -1, dtype=np.int64)
    logprobs = np.full((len(rows), width), np.nan, dtype=np.float32)
    for place, row in enumerate(rows.values()):
        ids[place, : len(row)] = list(row)
        logprobs[place, : len(row)] = list(row.values())
    return TopLogprobs(np.array(list(rows), dtype=np.int64), ids, logprobs)


def get_single_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of an answer.

    Raises:
        UnexpectedResponseError: there is another number of them.
    """
    choices: list[Mapping[str, Any]] = get_field(answer, "choices")
    if len(choices) != 1:
        raise UnexpectedResponseError(f"the server gave {len(choices)} choices")
    return choices[0]


def get_logprob_lists(choice: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """What a choice says of each of its tokens: ``token``, ``logprob``, ``top_logprobs``."""
    found: Iterable[Mapping[str, Any]] = get_field(get_field(choice, "logprobs"), "content")
    return found


def get_field(holder: Mapping[str, Any], name: str) -> Any:
    """A field that the server was asked to fill.

    Raises:
        UnexpectedResponseError: it did not.
    """
    if holder.get(name) is None:
        raise UnexpectedResponseError(f"the server left out {name!r}, which it was asked for")
    return holder[name]
