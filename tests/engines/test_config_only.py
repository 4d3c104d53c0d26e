"""Released configurations without weights, in transformers and in the installed engine.

Ids, spans, media and positions have the released sizes, and no memory is allocated for weights.
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
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

MAX_MEMORY = 3 * 2**30
"""Maximum memory of a frontend, in bytes. The smallest of the released models has 3.8 GB of weights in
float32, Qwen3-VL 30B has 62 GB in bfloat16; the libraries alone need about 1.5 GB."""


def get_resident_memory() -> int:
    """Return the current memory of this process in bytes; the peak could be that of an earlier test."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def build_inputs(name: str, folder: Path) -> Inputs:
    """Return the inputs of one image and a question."""
    before = get_resident_memory()
    backend = load_backend_class(name)(Settings(depth=Depth.TOKENS))
    backend.load(resolve_model(str(folder), weights=False))
    try:
        inputs = backend.inputs(make_request(IMAGE_PART, TEXT_PART))
        assert get_resident_memory() - before < MAX_MEMORY
        return inputs
    finally:
        backend.close()


@pytest.fixture(scope="module", params=RELEASED)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config_only(request.param, tmp_path_factory.mktemp("released") / request.param)


def test_the_checkpoint_has_no_weights(folder: Path) -> None:
    assert not [file for file in folder.iterdir() if "safetensors" in file.name]


def test_ids_and_positions_are_those_of_transformers(folder: Path) -> None:
    reference, tested = build_inputs(REFERENCE_BACKEND, folder), build_inputs(ENGINE, folder)
    assert tested.input_ids == reference.input_ids
    assert reference.positions is not None
    if tested.positions is not None:
        assert (tested.positions == reference.positions).all()
    else:
        assert Stage.POSITIONS in tested.not_captured


def test_spans_and_media_are_captured_if_a_family_is_registered(folder: Path) -> None:
    family = resolve_model(str(folder), weights=False).family
    reference = build_inputs(REFERENCE_BACKEND, folder)
    if family in FAMILIES:
        assert reference.spans
        assert reference.media
        assert not reference.not_captured
    else:
        reason = f"no family is registered for model_type {family!r}"
        assert reference.not_captured == {Stage.SPANS: reason, Stage.MEDIA: reason}


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    own = write_config_only("qwen2_vl", tmp_path / "own-code")
    config = {"model_type": "own_code", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (own / "config.json").write_text(json.dumps(config))
    (own / "configuration_own.py").write_text("raise SystemExit('it was run')")
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (own / name).exists():
            content = json.loads((own / name).read_text())
            (own / name).write_text(json.dumps({**content, "processor_class": None}))
    with pytest.raises(UnsupportedError) as caught:
        build_inputs(REFERENCE_BACKEND, own)
    assert str(caught.value) == (
        "own-code contains code (auto_map in config.json), which runs only if its entry in the model list "
        "has trust_remote_code = true: read the code first, then see docs/guides/check_a_model.md"
    )
