"""Passes of vLLM over the cases with the capture of all logits, against the same passes without it.

  .tox/vllm/bin/python benchmarks/capture.py
  .tox/vllm/bin/python benchmarks/capture.py ./my-checkpoint --rounds 3

Needs an environment with vLLM. One engine runs the cases one after the other, as in `parity run`. Both passes
force the same tokens and therefore run the same steps; with capture, the worker also returns the rows.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from target import build_parser, check_target, get_exit_code

from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.media.load import load_media
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.case import Case
from vlm_parity.schema.case_file import load_cases
from vlm_parity.util.errors import UnsupportedError

CASES = Path(__file__).parent.parent / "cases" / "conversations"
LONGEST = 8192  # tokens of prompt and continuation
TARGET = 1.5
"""The most that a pass with capture may take, relative to a pass without."""


@dataclass(frozen=True)
class PreparedCase:
    """A case with its inputs and the tokens that the engine generates."""

    request: Request
    inputs: Inputs
    continuation: tuple[int, ...]


def main() -> int:
    """Measure both passes and return the exit code."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    parser = build_parser(str(__doc__))
    parser.add_argument(
        "model", nargs="?", default="qwen2_vl", help="family, folder or hub id (default: qwen2_vl)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="repetitions of each pass (default: %(default)s)"
    )
    args = parser.parse_args()
    backend = VllmBackend(Settings(max_length=LONGEST))
    backend.load(resolve_model(args.model))
    cases = (case for case in load_cases(CASES).values() if case.max_size_modality is None)
    prepared = [item for case in cases if (item := _prepare(backend, case))]
    positions = sum(len(item.inputs.input_ids) + len(item.continuation) - 1 for item in prepared)
    print(f"\n{args.model}: {len(prepared)} cases, {positions} positions; seconds per pass")
    passes = (("the engine's steps", _run_steps), ("the whole pass", _run_whole_pass))
    targets = [_compare(name, partial(run, backend, prepared), args.rounds) for name, run in passes]
    backend.close()
    return get_exit_code(targets)


def _prepare(backend: VllmBackend, case: Case) -> PreparedCase | None:
    request = Request(case, load_media(case))
    try:
        inputs = backend.inputs(request)
    except UnsupportedError:
        return None
    output = backend._generator._generate(inputs.prepared, case.max_new_tokens)
    return PreparedCase(request, inputs, tuple(output.outputs[0].token_ids))


def _run_steps(backend: VllmBackend, prepared: list[PreparedCase], capture: bool) -> None:
    """Run every case along its continuation, on inputs that are prepared already."""
    for item in prepared:
        _force(backend, item.inputs, item.continuation, capture)


def _run_whole_pass(backend: VllmBackend, prepared: list[PreparedCase], capture: bool) -> None:
    """Do everything that a run does for a case: prepare its inputs, the forced run, the free run."""
    for item in prepared:
        inputs = backend.inputs(item.request)
        _force(backend, inputs, item.continuation, capture)
        backend._generator._generate(inputs.prepared, len(item.continuation))


def _force(backend: VllmBackend, inputs: Inputs, continuation: tuple[int, ...], capture: bool) -> None:
    if capture:
        backend._generator._force(inputs, continuation)
    else:
        backend._generator._generate(
            inputs.prepared, len(continuation), {"parity_continuation": list(continuation)}
        )


def _compare(name: str, run_pass: Callable[[bool], None], rounds: int) -> bool:
    for capture in (True, False):
        run_pass(capture)  # warm up
    times = [(_measure(run_pass, True), _measure(run_pass, False)) for _ in range(rounds)]
    for side, seconds in zip(("with capture", "without"), zip(*times, strict=True), strict=True):
        print(f"{name}, {side:12}  least {min(seconds):6.2f}  median {median(seconds):6.2f}")
    ratios = [captured / plain for captured, plain in times]
    return check_target(f"{name}, with / without", ratios, TARGET, "most")


def _measure(run_pass: Callable[[bool], None], capture: bool) -> float:
    start = time.perf_counter()
    run_pass(capture)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
