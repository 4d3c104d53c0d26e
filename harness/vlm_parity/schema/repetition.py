"""Passes of an engine over a case beyond one: after a failure, and to see whether a difference repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Outcome, Stage

_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")
"""Names of exceptions of Python, PyTorch and CUDA."""
_MAX_QUOTE_LENGTH = 160
_VERBS = {Outcome.CRASH: "crashed", Outcome.ERROR: "ran out of memory"}


class Attempt(Record):
    """A failed attempt of an engine at a case, before the one that the verdict is about."""

    outcome: Outcome
    message: str

    @property
    def description(self) -> str:
        """Description of the failure, in one line: ``crashed: no answer within 300 s``."""
        first_line = self.message.partition("\n")[0].removesuffix("; its last lines:")
        return f"{_VERBS.get(self.outcome, str(self.outcome))}: {first_line[:_MAX_QUOTE_LENGTH]}"


class Repetition(Record):
    """One more pass of an engine over a case that differs, in the same engine load."""

    outcome: Outcome
    message: str = ""
    """The reason why it was not compared, unless its outcome is ``captured``."""
    first_divergence: Stage | None = None
    """The first stage that differs, up to the one of the first pass; None if none does."""
    is_identical: bool = False
    """True if the first pass produced the same bits at its first stage that differs."""


def is_infrastructure_failure(outcome: Outcome, message: str) -> bool:
    """Return whether a failure may be the machine's: a crash, a timeout, or memory that did not suffice."""
    is_out_of_memory = message.partition(":")[0].rpartition(".")[2] in _OUT_OF_MEMORY
    return outcome is Outcome.CRASH or (outcome is Outcome.ERROR and is_out_of_memory)


def is_unstable(first: Stage, repetitions: Collection[Repetition]) -> bool:
    """Return whether a difference comes and goes.

    Args:
        first: the first stage that differs in the first pass.
        repetitions: the passes after it.
    """
    return any(each.first_divergence is not first for each in _list_compared(repetitions))


def describe_repetitions(first: Stage, repetitions: Collection[Repetition]) -> str:
    """Return a sentence on the passes over a case that differs; empty if there was only one.

    Args:
        first: as for ``is_unstable``.
        repetitions: likewise.
    """
    compared = _list_compared(repetitions)
    passes = 1 + len(compared)
    sentences = []
    if is_unstable(first, repetitions):
        found = Counter(each.first_divergence for each in compared)
        found[first] += 1
        parts = [f"{count} of {passes} differ first at {stage}" for stage, count in found.items() if stage]
        agreeing = f"{found[None]} of {passes} agree up to {first}" if found[None] else ""
        sentences.append(f"comes and goes: {', '.join(filter(None, (*sorted(parts), agreeing)))}")
    elif compared:
        identical = 1 + sum(each.is_identical for each in compared)
        sentences.append(
            f"repeats bit for bit in {passes} of {passes} passes"
            if identical == passes
            else f"differs in {passes} of {passes} passes, bit for bit equal in {identical}"
        )
    failed = [each for each in repetitions if each.outcome is not Outcome.CAPTURED]
    if failed:
        sentences.append(f"{len(failed)} more not compared: {failed[0].outcome}: {failed[0].message}")
    return "; ".join(sentences)


def describe_attempts(attempts: Collection[Attempt], *, has_failed_again: bool) -> str:
    """Return a sentence on failed attempts; empty if there was none.

    Args:
        attempts: the failed ones.
        has_failed_again: True if the last attempt, too, is a failure of this kind.
    """
    if not attempts:
        return ""
    first = next(iter(attempts)).description
    if has_failed_again:
        total = len(attempts) + 1
        return f"failed in {total} of {total} attempts, each in a new process; the first attempt {first}"
    return f"the first attempt {first}; it was run again in a new process"


def _list_compared(repetitions: Collection[Repetition]) -> list[Repetition]:
    return [each for each in repetitions if each.outcome is Outcome.CAPTURED]
