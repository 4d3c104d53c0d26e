"""The engines behind their own servers: what they were fed and say is the reference's; what ends, ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.support.requests import MAX_DISTANCE, IMAGE_PART, TEXT_PART, make_request
from vlm_parity.backends.base import Outputs, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.backends.server.backend import ServerBackend
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import EngineCrashedError, RequestRefusedError
from vlm_parity.util.numeric import compute_log_softmax

pytest.importorskip("torch")
ENGINES = [name for name in ("vllm", "lmdeploy") if find_spec(name)]
REQUEST = make_request(IMAGE_PART, TEXT_PART)


def loaded(engine: str) -> ServerBackend:
    backend = load_backend_class(engine, EntryPoint.SERVER)(Settings(max_length=1024))
    assert isinstance(backend, ServerBackend)
    backend.load(build_checkpoint("qwen2_vl"))
    return backend


@pytest.fixture(scope="module", params=ENGINES)
def served(request: pytest.FixtureRequest) -> Iterator[ServerBackend]:
    backend = loaded(request.param)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> tuple[tuple[int, ...], Outputs]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen2_vl"))
    inputs = backend.inputs(REQUEST)
    return inputs.input_ids, backend.outputs(inputs, None, REQUEST.case.max_new_tokens)


def test_a_server_is_fed_what_the_reference_is(
    served: ServerBackend, reference: tuple[tuple[int, ...], Outputs]
) -> None:
    ids, _ = reference
    inputs = served.inputs(REQUEST)
    if inputs.prompt_tokens is None:
        assert inputs.input_ids == ids
    else:
        assert (inputs.prompt_tokens, inputs.input_ids) == (len(ids), ())


def test_a_server_lists_the_references_log_probabilities(
    served: ServerBackend, reference: tuple[tuple[int, ...], Outputs]
) -> None:
    if served.name == "lmdeploy":
        pytest.xfail("LMDeploy 0.18 maps Qwen2-VL's quick_gelu to GELU: docs/findings.md")
    _, theirs = reference
    ours = served.outputs(served.inputs(REQUEST), None, REQUEST.case.max_new_tokens)
    assert ours.greedy == theirs.greedy
    for stage, logits in ((Stage.PREFILL, theirs.prefill), (Stage.DECODE, theirs.decode)):
        found = ours.top_logprobs[stage]
        assert logits is not None
        assert found.rows.tolist() == list(range(len(logits)))
        for row, listed, logprobs in zip(found.rows, found.ids, found.logprobs, strict=True):
            there = listed >= 0
            assert there.sum() >= 20
            np.testing.assert_allclose(
                logprobs[there], compute_log_softmax(logits[row])[listed[there]], rtol=0, atol=MAX_DISTANCE
            )


def test_what_a_server_refuses_is_told_in_its_own_words(served: ServerBackend) -> None:
    long = make_request({"text": "one " * 2000})
    with pytest.raises(RequestRefusedError, match="HTTP 400"):
        served.inputs(long)


def test_all_of_a_server_ends_with_it(served: ServerBackend) -> None:
    other = loaded(served.name)
    started = _below(other._server.pid)
    other.close()
    assert started
    assert not _living_after(started, seconds=10)


def test_a_server_that_is_killed_is_a_dead_engine(served: ServerBackend) -> None:
    orphans = _below(served._server.pid)
    os.kill(served._server.pid, signal.SIGKILL)
    try:
        with pytest.raises(EngineCrashedError, match="ended with exit code -9; its last lines"):
            served.inputs(REQUEST)
    finally:  # in a session they end with the child's process group
        for pid in filter(_lives, orphans):
            os.kill(pid, signal.SIGKILL)


def _below(parent: int) -> list[int]:
    """The processes that a process has started, and those that they did."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    return [pid for child in map(int, found) for pid in (child, *_below(child))]


def _living_after(pids: list[int], seconds: float) -> list[int]:
    """Those that still live then, or as soon as none does: a signal is delivered when it suits the kernel."""
    deadline = time.monotonic() + seconds
    while (living := [pid for pid in pids if _lives(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return living


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
