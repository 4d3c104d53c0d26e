"""Responses of a server to a chat completion, converted to the outputs of a backend."""

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
"""Log-probabilities at one position, by id."""


@dataclass(frozen=True)
class ServerResponse:
    """The content of a chat completion, independent of the engine."""

    tokens: tuple[int, ...]
    """Generated ids."""
    generated: Sequence[Logprobs]
    """Top log-probabilities of each generated id."""
    prompt_tokens: int
    """Length of the prompt in ids, from ``usage``."""
    input_ids: tuple[int, ...] | None = None
    prompt: str | None = None
    top_logprobs: Sequence[Logprobs | None] = field(default_factory=tuple)
    """Top log-probabilities of each id of the prompt, None for the first; empty if the server lists none."""

    def build_outputs(self) -> Outputs:
        """Return the generated ids and listed log-probabilities as the outputs of a backend.

        Raises:
            UnexpectedResponseError: the numbers of ids and of lists differ.
        """
        lists = len(self.generated), len(self.top_logprobs)
        if not self.tokens or lists[0] != len(self.tokens) or lists[1] not in {0, self.prompt_tokens}:
            raise UnexpectedResponseError(
                f"{len(self.tokens)} tokens after {self.prompt_tokens}, but {lists[0]} and {lists[1]} "
                "lists of log-probabilities"
            )
        # The probabilities of an id were computed at the position before it.
        rows = {index - 1: row for index, row in enumerate(self.top_logprobs) if index and row is not None}
        return Outputs(
            prefill=None,
            decode=None,
            continuation=self.tokens,
            greedy=self.tokens,
            top_logprobs={
                Stage.PREFILL: build_top_logprobs({**rows, self.prompt_tokens - 1: self.generated[0]}),
                Stage.DECODE: build_top_logprobs(dict(enumerate(self.generated[1:]))),
            },
            mode_note="queried over HTTP with the openai client",
        )


def build_top_logprobs(rows: Mapping[int, Logprobs]) -> TopLogprobs:
    """Return the rows of one stage as padded arrays.

    Args:
        rows: log-probabilities by the index of their row.
    """
    width = max((len(row) for row in rows.values()), default=0)
    ids = np.full((len(rows), width), -1, dtype=np.int64)
    logprobs = np.full((len(rows), width), np.nan, dtype=np.float32)
    for index, row in enumerate(rows.values()):
        ids[index, : len(row)] = list(row)
        logprobs[index, : len(row)] = list(row.values())
    return TopLogprobs(np.array(list(rows), dtype=np.int64), ids, logprobs)


def get_single_choice(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the only choice of a completion.

    Raises:
        UnexpectedResponseError: there is not exactly one.
    """
    choices: list[Mapping[str, Any]] = get_field(completion, "choices")
    if len(choices) != 1:
        raise UnexpectedResponseError(f"the server returned {len(choices)} choices")
    return choices[0]


def get_logprob_lists(choice: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return the entry of each generated token: ``token``, ``logprob``, ``top_logprobs``.

    Raises:
        UnexpectedResponseError: the choice has none.
    """
    entries: Iterable[Mapping[str, Any]] = get_field(get_field(choice, "logprobs"), "content")
    return entries


def get_field(container: Mapping[str, Any], name: str) -> Any:
    """Return a requested field of a response.

    Raises:
        UnexpectedResponseError: it is missing or None.
    """
    if container.get(name) is None:
        raise UnexpectedResponseError(f"the response lacks {name!r}, which was requested")
    return container[name]
