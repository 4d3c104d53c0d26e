"""What a server answers to a chat completion, as what a trace holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm_parity.backends.base import Listed, Outputs
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnexpectedResponseError

HIDDEN = dict.fromkeys(
    (Stage.SPANS, Stage.MEDIA, Stage.POSITIONS, Stage.VISION), "a chat completion does not show it"
)
Logprobs = Mapping[int, float]
"""The log-probabilities of a few ids at one position."""


@dataclass(frozen=True)
class Answer:
    """What one server said, in its own form or another."""

    tokens: tuple[int, ...]
    """The generated ones."""
    generated: Sequence[Logprobs]
    """What was listed for each of them."""
    prompt_tokens: int
    """How many ids the prompt had, by ``usage``."""
    input_ids: tuple[int, ...] | None = None
    prompt: str | None = None
    listed: Sequence[Logprobs | None] = field(default_factory=tuple)
    """What was listed for each id of the prompt; None for one that has nothing before it."""

    def outputs(self) -> Outputs:
        """The part that the engine's answer is.

        Raises:
            UnexpectedResponseError: there is not one list for each token.
        """
        lists = len(self.generated), len(self.listed)
        if not self.tokens or lists[0] != len(self.tokens) or lists[1] not in {0, self.prompt_tokens}:
            raise UnexpectedResponseError(
                f"{len(self.tokens)} tokens after {self.prompt_tokens}, but {lists[0]} and {lists[1]} "
                "lists of log-probabilities"
            )
        # What is said of a token was computed at the position before it.
        rows = {place - 1: row for place, row in enumerate(self.listed) if place and row is not None}
        return Outputs(
            prefill=None,
            decode=None,
            continuation=self.tokens,
            greedy=self.tokens,
            listed={
                Stage.PREFILL: listed_rows({**rows, self.prompt_tokens - 1: self.generated[0]}),
                Stage.DECODE: listed_rows(dict(enumerate(self.generated[1:]))),
            },
            ran="asked over HTTP with the openai client",
        )


def listed_rows(rows: Mapping[int, Logprobs]) -> Listed:
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
    return Listed(np.array(list(rows), dtype=np.int64), ids, logprobs)


def only_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of an answer.

    Raises:
        UnexpectedResponseError: there is another number of them.
    """
    choices: list[Mapping[str, Any]] = asked_for(answer, "choices")
    if len(choices) != 1:
        raise UnexpectedResponseError(f"the server gave {len(choices)} choices")
    return choices[0]


def lists_of(choice: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """What a choice says of each of its tokens: ``token``, ``logprob``, ``top_logprobs``."""
    found: Iterable[Mapping[str, Any]] = asked_for(asked_for(choice, "logprobs"), "content")
    return found


def asked_for(holder: Mapping[str, Any], name: str) -> Any:
    """A field that the server was asked to fill.

    Raises:
        UnexpectedResponseError: it did not.
    """
    if holder.get(name) is None:
        raise UnexpectedResponseError(f"the server left out {name!r}, which it was asked for")
    return holder[name]
