"""Passes of vLLM over the cases with the capture of all logits, against the same passes without it.

Usage: ``python benchmarks/capture.py [MODEL]``, in an environment with vLLM. One engine answers the
cases one after the other, as the harness asks them. Both passes force the same tokens, so both run
the same steps; with capture, the rows also come back from the worker.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from aim import print_aim

from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.media.load import load_media
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_cases
from vlm_parity.util.errors import UnsupportedError

CASES = Path(__file__).parent.parent / "cases" / "conversations"
LONGEST = 8192  # tokens of prompt and continuation
AIM = 1.5
"""The most that a pass with capture may take, in passes without."""


@dataclass(frozen=True)
class Asked:
    """One case, with the tokens that the engine itself chooses."""

    request: Request
    inputs: Inputs
    continuation: tuple[int, ...]


def main() -> None:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="qwen2_vl", help="a family, a folder or a hub id")
    parser.add_argument("--rounds", type=int, default=7, help="how often each pass is timed (default 7)")
    options = parser.parse_args()
    backend = VllmBackend(Settings(max_length=LONGEST))
    backend.load(resolve_model(options.model))
    cases = (case for case in load_cases(CASES).values() if case.max_size_modality is None)
    asked = [found for case in cases if (found := _ask(backend, case))]
    positions = sum(len(one.inputs.input_ids) + len(one.continuation) - 1 for one in asked)
    print(f"\n{options.model}: {len(asked)} cases, {positions} positions; seconds a pass")
    for name, once in (("the engine's steps", _steps), ("the harness's pass", _whole)):
        _compare(name, partial(once, backend, asked), options.rounds)
    backend.close()


def _ask(backend: VllmBackend, case: Case) -> Asked | None:
    request = Request(case, load_media(case))
    try:
        inputs = backend.inputs(request)
    except UnsupportedError:
        return None
    output = backend._generator._generate(inputs.prepared, case.max_new_tokens)
    return Asked(request, inputs, tuple(output.outputs[0].token_ids))


def _steps(backend: VllmBackend, asked: list[Asked], capture: bool) -> None:
    """Every case prepared already, run along its continuation."""
    for one in asked:
        _force(backend, one.inputs, one.continuation, capture)


def _whole(backend: VllmBackend, asked: list[Asked], capture: bool) -> None:
    """All that the harness asks for a case: prepared, run along its continuation, left to run free."""
    for one in asked:
        inputs = backend.inputs(one.request)
        _force(backend, inputs, one.continuation, capture)
        backend._generator._generate(inputs.prepared, len(one.continuation))


def _force(backend: VllmBackend, inputs: Inputs, continuation: tuple[int, ...], capture: bool) -> None:
    if capture:
        backend._generator._force(inputs, continuation)
    else:
        backend._generator._generate(
            inputs.prepared, len(continuation), {"parity_continuation": list(continuation)}
        )


def _compare(name: str, once: Callable[[bool], None], rounds: int) -> None:
    for capture in (True, False):
        once(capture)  # warm
    taken = [(_seconds(once, True), _seconds(once, False)) for _ in range(rounds)]
    for how, seconds in zip(("with capture", "without"), zip(*taken, strict=True), strict=True):
        print(f"{name}, {how:12}  least {min(seconds):6.2f}  median {median(seconds):6.2f}")
    print_aim(f"{name}, with / without", [captured / plain for captured, plain in taken], AIM, "most")


def _seconds(once: Callable[[bool], None], capture: bool) -> float:
    start = time.perf_counter()
    once(capture)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
