"""The installed engine behind its own server: same inputs and outputs as the reference, and a clean end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

from tests.support.processes import is_running
from tests.support.requests import IMAGE_PART, MAX_DISTANCE, TEXT_PART, make_request
from vlm_parity.backends.base import Outputs, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.backends.server.backend import ServerBackend
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import EngineCrashedError, RequestRefusedError
from vlm_parity.util.numeric import compute_log_softmax
from vlm_parity.util.supervisor import list_descendants

pytest.importorskip("torch")
ENGINES = [name for name in ("vllm", "lmdeploy") if find_spec(name)]
REQUEST = make_request(IMAGE_PART, TEXT_PART)


def load_server(engine: str) -> ServerBackend:
    backend = load_backend_class(engine, EntryPoint.SERVER)(Settings(max_length=1024))
    assert isinstance(backend, ServerBackend)
    backend.load(build_checkpoint("qwen2_vl"))
    return backend


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[ServerBackend]:
    backend = load_server(request.param)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> tuple[tuple[int, ...], Outputs]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen2_vl"))
    inputs = backend.inputs(REQUEST)
    return inputs.input_ids, backend.outputs(inputs, None, REQUEST.case.max_new_tokens)


def test_the_ids_are_those_of_the_reference(
    server: ServerBackend, reference: tuple[tuple[int, ...], Outputs]
) -> None:
    ids, _ = reference
    inputs = server.inputs(REQUEST)
    if inputs.prompt_tokens is None:
        assert inputs.input_ids == ids
    else:
        assert (inputs.prompt_tokens, inputs.input_ids) == (len(ids), ())


def test_the_log_probabilities_are_those_of_the_reference(
    server: ServerBackend, reference: tuple[tuple[int, ...], Outputs]
) -> None:
    if server.name == "lmdeploy":
        pytest.xfail("LMDeploy 0.18 maps Qwen2-VL's quick_gelu to GELU: docs/results/findings.md")
    _, expected = reference
    tested = server.outputs(server.inputs(REQUEST), None, REQUEST.case.max_new_tokens)
    assert tested.greedy == expected.greedy
    for stage, logits in ((Stage.PREFILL, expected.prefill), (Stage.DECODE, expected.decode)):
        top = tested.top_logprobs[stage]
        assert logits is not None
        assert top.rows.tolist() == list(range(len(logits)))
        for row, ids, logprobs in zip(top.rows, top.ids, top.logprobs, strict=True):
            is_listed = ids >= 0
            assert is_listed.sum() >= 20
            np.testing.assert_allclose(
                logprobs[is_listed],
                compute_log_softmax(logits[row])[ids[is_listed]],
                rtol=0,
                atol=MAX_DISTANCE,
            )


def test_a_refusal_has_the_message_of_the_server(server: ServerBackend) -> None:
    long = make_request({"text": "one " * 2000})
    with pytest.raises(RequestRefusedError, match="HTTP 400"):
        server.inputs(long)


def test_all_processes_of_a_server_end_with_it(server: ServerBackend) -> None:
    other = load_server(server.name)
    descendants = list_descendants(other._server.pid)
    other.close()
    assert descendants
    assert not _list_running_after(descendants, seconds=10)


def test_a_killed_server_is_a_crashed_engine(server: ServerBackend) -> None:
    family = list_descendants(server._server.pid)
    os.kill(family[0], signal.SIGKILL)
    with pytest.raises(EngineCrashedError, match="ended with exit code -9; its last lines"):
        server.inputs(REQUEST)
    assert not _list_running_after(family, seconds=0)


def _list_running_after(pids: list[int], seconds: float) -> list[int]:
    """Return the processes that still run after a time; return earlier if there are none."""
    deadline = time.monotonic() + seconds
    while (running := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return running
