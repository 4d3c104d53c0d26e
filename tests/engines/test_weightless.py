"""Released checkpoints without their weights, in transformers and in the engine of this environment: the
ids, spans, media and positions of released sizes, with nothing allocated for them.
"""

from __future__ import annotations

import json
import resource
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.released_configs import RELEASED, write_config_only
from tests.support.requests import IMAGE_PART, TEXT_PART, make_request
from vlm_parity.backends.base import Inputs, Settings
from vlm_parity.backends.registry import REFERENCE_BACKEND, load_backend_class
from vlm_parity.models.registry import FAMILIES
from vlm_parity.models.resolve import resolve_model
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.util.errors import UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

MOST_MEMORY = 3 * 2**30
"""Bytes that a front end may add. The smallest of the released models has 3.8 GB of weights in float32,
Qwen3-VL's 30B has 62 in bfloat16; what the libraries take by themselves is about 1.5."""


def resident() -> int:
    """Bytes of this process in memory now; its peak would be that of whatever was tested before."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def inputs_of(backend: str, folder: Path) -> Inputs:
    """What a backend's front end makes of one picture and a question."""
    before = resident()
    asked = load_backend_class(backend)(Settings(depth=Depth.TOKENS))
    asked.load(resolve_model(str(folder), weights=False))
    try:
        inputs = asked.inputs(make_request(IMAGE_PART, TEXT_PART))
        assert resident() - before < MOST_MEMORY
        return inputs
    finally:
        asked.close()


@pytest.fixture(scope="module", params=RELEASED)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config_only(request.param, tmp_path_factory.mktemp("released") / request.param)


def test_it_holds_no_weights(folder: Path) -> None:
    assert not [file for file in folder.iterdir() if "safetensors" in file.name]


def test_ids_and_positions_are_those_of_transformers(folder: Path) -> None:
    reference, tested = inputs_of(REFERENCE_BACKEND, folder), inputs_of(ENGINE, folder)
    assert tested.input_ids == reference.input_ids
    assert reference.positions is not None
    if tested.positions is not None:
        assert (tested.positions == reference.positions).all()
    else:
        assert Stage.POSITIONS in tested.not_captured


def test_what_needs_a_family_is_compared_where_there_is_one(folder: Path) -> None:
    family = resolve_model(str(folder), weights=False).family
    reference = inputs_of(REFERENCE_BACKEND, folder)
    if family in FAMILIES:
        assert reference.spans
        assert reference.media
        assert not reference.not_captured
    else:
        reason = f"no family is registered for model_type {family!r}"
        assert reference.not_captured == {Stage.SPANS: reason, Stage.MEDIA: reason}


def test_code_that_a_checkpoint_brings_is_not_run(tmp_path: Path) -> None:
    own = write_config_only("qwen2_vl", tmp_path / "own-code")
    brought = {"model_type": "own_code", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (own / "config.json").write_text(json.dumps(brought))
    (own / "configuration_own.py").write_text("raise SystemExit('it was run')")
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (own / name).exists():
            content = json.loads((own / name).read_text())
            (own / name).write_text(json.dumps({**content, "processor_class": None}))
    with pytest.raises(UnsupportedError) as caught:
        inputs_of(REFERENCE_BACKEND, own)
    assert str(caught.value) == (
        "own-code contains code (auto_map in config.json), which runs only if its entry in the model list has "
        "trust_remote_code = true: read the code first, then see docs/guides/check_a_model.md"
    )
