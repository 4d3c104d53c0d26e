"""The installed engine's modules against the reference's: planted faults are named, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.requests import IMAGE_PART, OTHER_IMAGE_PART, TEXT_PART, make_request
from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.common import module_recorder
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.diagnosis.module_causes import CACHED_ATTENTION, DEEP_FEATURES, name_causes
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.location import Location
from vlm_parity.selfcheck.module_faults import FAULTS, ModuleFault, inject_module_fault
from vlm_parity.selfcheck.registry import inject_fault
from vlm_parity.util.errors import UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

FAMILY = "qwen3_vl"
IMAGE = make_request(IMAGE_PART, TEXT_PART)
IMAGES = make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, TEXT_PART)
TEXT = make_request({"text": "Name three colors."})
STEPS = 3


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    backend = load_backend_class(ENGINE)(Settings(max_length=1024))
    backend.load(build_checkpoint(FAMILY))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings(dtype="float64"))
    backend.load(build_checkpoint(FAMILY))
    yield backend
    backend.close()


BLOCK = "language_model.layers.1"
LIMITS = {"vllm": 8 * 2**20, "lmdeploy": 14 * 2**20}
"""Bytes that hold the values of whole blocks, but not those of all modules."""


def locate(
    engine: Any,
    reference: TransformersBackend,
    folder: Path,
    request: Request = IMAGE,
    fault: AbstractContextManager[None] | None = None,
    steps: int = 1,
    within: tuple[str, str] = ("", ""),
) -> Location:
    own: Inputs = reference.inputs(request)
    continuation = reference.outputs(own, None, STEPS).continuation
    with fault or nullcontext():
        inputs = engine.inputs(request)
        with engine.record_modules(folder, inputs, within[1]):
            engine.outputs(inputs, continuation, 1)
    return name_causes(reference.locate(own, folder, continuation[:steps], within[0]))


def names(location: Location) -> list[str]:
    return [f"{each.module} {each.point}" for each in location.differences]


@pytest.mark.parametrize("request_", [TEXT, IMAGE, IMAGES], ids=["text", "image", "images"])
def test_modules_agree_without_a_fault(
    engine: Any, reference: TransformersBackend, tmp_path: Path, request_: Request
) -> None:
    location = locate(engine, reference, tmp_path, request_, steps=STEPS)
    assert location.differences == ()
    assert location.agreeing == location.values > 100
    assert {module.status for module in location.modules} <= {"agrees", "not shown"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_module_is_named_with_its_cause(
    engine: Any, reference: TransformersBackend, tmp_path: Path, fault: ModuleFault
) -> None:
    location = locate(engine, reference, tmp_path, IMAGE, inject_module_fault(engine, fault.name))
    assert len(location.differences) == 1
    (difference,) = location.differences
    assert re.search(rf"{fault.expected}$", f"{difference.module} {difference.point}")
    assert difference.cause == fault.cause


def test_a_large_model_is_located_by_its_blocks_first(
    engine: Any, reference: TransformersBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_recorder, "MAX_RECORDED_BYTES", LIMITS[ENGINE])
    name = "another weight of a norm"
    blocks = locate(engine, reference, tmp_path, IMAGE, inject_module_fault(engine, name))
    assert blocks.is_coarse
    (block,) = blocks.differences
    assert block.module.endswith(BLOCK)
    assert not any(".mlp" in module.module and ".layers." in module.module for module in blocks.modules)
    within = block.module, block.engine_module
    fine = locate(engine, reference, tmp_path, IMAGE, inject_module_fault(engine, name), within=within)
    assert [each.module for each in fine.differences] == [f"{block.module}.post_attention_layernorm"]
    assert not fine.is_coarse


def test_dropped_deep_features_are_named_where_they_are_added(
    engine: Any, reference: TransformersBackend, tmp_path: Path
) -> None:
    fault = inject_fault(engine, "features for deeper layers are dropped")
    location = locate(engine, reference, tmp_path, IMAGE, fault)
    assert {each.cause for each in location.differences} == {DEEP_FEATURES}
    assert [each.module for each in location.differences] == [
        "model.language_model.layers.1",
        "model.language_model.layers.2",
    ]


def test_a_wrong_cache_shows_in_the_attention_of_a_decoding_step(
    engine: Any, reference: TransformersBackend, tmp_path: Path
) -> None:
    fault = inject_fault(engine, "new keys and values written one slot off")
    location = locate(engine, reference, tmp_path, IMAGE, fault, steps=STEPS)
    assert {each.cause for each in location.differences} == {CACHED_ATTENTION}
    assert {each.step for each in location.differences} == {1}


def test_a_fault_behind_the_head_is_in_no_module(
    engine: Any, reference: TransformersBackend, tmp_path: Path
) -> None:
    fault = inject_fault(engine, "temperature 0.7 applied to the logits")
    assert locate(engine, reference, tmp_path, IMAGE, fault).differences == ()


def test_other_ids_do_not_correspond(engine: Any, reference: TransformersBackend, tmp_path: Path) -> None:
    locate(engine, reference, tmp_path, TEXT)
    with pytest.raises(UnsupportedError, match="other ids"):
        reference.locate(reference.inputs(IMAGE), tmp_path, (1,))


def test_the_engine_is_as_before_after_a_recording(engine: Any, tmp_path: Path) -> None:
    inputs = engine.inputs(IMAGE)
    continuation = (1, 2, 3)
    before = engine.outputs(inputs, continuation, 2)
    with engine.record_modules(tmp_path, inputs):
        recorded = engine.outputs(inputs, continuation, 2)
    after = engine.outputs(inputs, continuation, 2)
    assert (before.prefill == recorded.prefill).all()
    assert (before.prefill == after.prefill).all()
    assert before.greedy == recorded.greedy == after.greedy
