"""Synthetic checkpoints in transformers: released ids, complete weights, used media, reproducible builds.

``--parity-model`` (repeatable) restricts the families.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

from tests.support.requests import TEXT_PART, make_request
from vlm_parity.backends.base import Inputs, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models import build
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import load_family
from vlm_parity.schema.case import Modality
from vlm_parity.schema.manifest import check_manifest, write_manifest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MEDIA = {
    "image": tuple({"pattern": "gradient", "size": [112, 84], "seed": seed} for seed in (1, 2)),
    "video": tuple(
        {"pattern": pattern, "size": [112, 84], "frames": 8, "fps": 2.0}
        for pattern in ("checkerboard", "gradient")
    ),
    "audio": tuple({"waveform": waveform, "seconds": 2.0} for waveform in ("sweep", "noise")),
}
"""Two media of the same shape, by modality."""
UNSUPPORTED = {
    ("gemma4", "video"): ("num_frames_per_video", Version("5.23")),
    ("kimi_k25", "video"): ("split_sizes to sum exactly", None),
}
"""Media on which transformers fails: a part of the message, and the first version without the bug, if any.

Gemma 4's tower does not receive the number of frames; Kimi's features are counted as if frames were not
merged.
"""


@pytest.fixture(scope="module")
def checkpoint(family_name: str) -> Checkpoint:
    return build.build_checkpoint(family_name)


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> TransformersBackend:
    backend = TransformersBackend(Settings())
    backend.load(checkpoint)
    return backend


def build_inputs(reference: TransformersBackend, modality: str, index: int) -> Inputs:
    return reference.inputs(make_request({modality: MEDIA[modality][index]}, TEXT_PART))


def get_modalities(checkpoint: Checkpoint) -> tuple[Modality, ...]:
    return load_family(checkpoint.family).modalities


def test_special_tokens_have_the_released_ids(checkpoint: Checkpoint, reference: TransformersBackend) -> None:
    released = load_family(checkpoint.family).special_ids
    tokenizer = reference._processor.tokenizer
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in released} == released
    for token, token_id in released.items():
        assert tokenizer(token, add_special_tokens=False).input_ids == [token_id]


def test_weights_of_checkpoint_and_model_are_the_same(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    _, report = type(reference._own.model).from_pretrained(checkpoint.path, output_loading_info=True)
    assert not any(report.values()), report


def test_a_wrong_grouping_of_query_heads_would_show(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    if checkpoint.family == "kimi_k25":
        pytest.skip("multi-head latent attention has no key heads to group by")
    text = reference._own.model.config.get_text_config()
    assert 1 < text.num_key_value_heads < text.num_attention_heads


def test_spans_of_media_cover_their_placeholders(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    placeholders = load_family(checkpoint.family).get_placeholder_ids(reference._config)
    for modality in get_modalities(checkpoint):
        inputs = build_inputs(reference, modality, 0)
        assert inputs.spans is not None
        assert inputs.media is not None
        assert [(span.modality, span.item) for span in inputs.spans] == [(modality, 0)]
        assert [(medium.modality, medium.item) for medium in inputs.media] == [(modality, 0)]
        positions = [
            position for position, token in enumerate(inputs.input_ids) if token == placeholders[modality]
        ]
        assert list(inputs.spans[0].positions) == positions


def test_log_probabilities_depend_on_the_medium(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    for modality in get_modalities(checkpoint):
        message, fixed_in = UNSUPPORTED.get((checkpoint.family, modality), ("", Version("0")))
        if fixed_in is None or Version(transformers.__version__) < fixed_in:
            with pytest.raises((ValueError, RuntimeError), match=message):
                compute_log_probabilities(reference, build_inputs(reference, modality, 0))
            continue
        rows = [
            compute_log_probabilities(reference, build_inputs(reference, modality, index)) for index in (0, 1)
        ]
        change = np.abs(rows[0] - rows[1])
        assert change.max() > 1, modality
        assert change[-1].max() > 0.1, modality


def compute_log_probabilities(reference: TransformersBackend, inputs: Inputs) -> Any:
    """Compute log-probabilities: float64 [positions, vocabulary]."""
    prefill = reference.outputs(inputs, None, 1).prefill
    assert prefill is not None
    return torch.log_softmax(torch.from_numpy(prefill).double(), -1).numpy()


def test_second_build_has_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    build._run_child(checkpoint.name, tmp_path)
    assert write_manifest(tmp_path) == check_manifest(checkpoint.path)
