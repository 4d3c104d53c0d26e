"""Every family's synthetic checkpoint in transformers: it loads, its ids are the released ones, the media
move the answer, and building it again gives the same bytes.

``--model`` (repeatable) restricts the families.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

from tests.support.requests import PICTURE, QUESTION, make_request

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from vlm_parity.backends.base import Inputs, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models import build
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import load_family

OTHER = {
    "image": ({**PICTURE["image"], "seed": 1}, {**PICTURE["image"], "seed": 2}),
    "video": tuple(
        {"pattern": pattern, "size": [112, 84], "frames": 8, "fps": 2.0}
        for pattern in ("checkerboard", "gradient")
    ),
    "audio": tuple({"waveform": waveform, "seconds": 2.0} for waveform in ("sweep", "noise")),
}
"""Two media of the same shape, by modality."""
BROKEN = {
    ("gemma4", "video"): ("num_frames_per_video", Version("5.23")),
    ("kimi_k25", "video"): ("split_sizes to sum exactly", None),
}
"""Media that transformers cannot run: what it says, and the first version that can, if there is one.
Gemma 4's tower is not told the number of frames; Kimi's features are counted as if frames were not merged."""


@pytest.fixture(scope="module")
def checkpoint(family_name: str) -> Checkpoint:
    return build.build_checkpoint(family_name)


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> TransformersBackend:
    backend = TransformersBackend(Settings())
    backend.load(checkpoint)
    return backend


def asked(reference: TransformersBackend, modality: str, which: int) -> Inputs:
    return reference.inputs(make_request({modality: OTHER[modality][which]}, QUESTION))


def modalities(checkpoint: Checkpoint) -> tuple[str, ...]:
    return load_family(checkpoint.family).modalities


def test_special_tokens_have_the_released_ids(checkpoint: Checkpoint, reference: TransformersBackend) -> None:
    released = load_family(checkpoint.family).special_ids
    tokenizer = reference._processor.tokenizer
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in released} == released
    for token, number in released.items():
        assert tokenizer(token, add_special_tokens=False).input_ids == [number]


def test_every_weight_of_the_checkpoint_is_one_of_the_model(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    _, report = type(reference._own.model).from_pretrained(checkpoint.path, output_loading_info=True)
    assert not any(report.values()), report


def test_media_have_spans_of_their_placeholders(
    checkpoint: Checkpoint, reference: TransformersBackend
) -> None:
    held = load_family(checkpoint.family).get_placeholder_ids(reference._config)
    for modality in modalities(checkpoint):
        inputs = asked(reference, modality, 0)
        assert inputs.spans is not None
        assert inputs.media is not None
        assert [(span.modality, span.item) for span in inputs.spans] == [(modality, 0)]
        assert [(medium.modality, medium.item) for medium in inputs.media] == [(modality, 0)]
        every = [at for at, token in enumerate(inputs.input_ids) if token == held[modality]]  # type: ignore[index]
        assert list(inputs.spans[0].positions) == every


def test_another_medium_moves_the_answer(checkpoint: Checkpoint, reference: TransformersBackend) -> None:
    for modality in modalities(checkpoint):
        says, mended = BROKEN.get((checkpoint.family, modality), ("", Version("0")))
        if mended is None or Version(transformers.__version__) < mended:
            with pytest.raises((ValueError, RuntimeError), match=says):
                answered(reference, asked(reference, modality, 0))
            continue
        rows = [answered(reference, asked(reference, modality, which)) for which in (0, 1)]
        moved = np.abs(rows[0] - rows[1])
        assert moved.max() > 1, modality
        assert moved[-1].max() > 0.1, modality


def answered(reference: TransformersBackend, inputs: Inputs) -> Any:
    """float64 [positions, vocabulary]: log-probabilities."""
    prefill = reference.outputs(inputs, None, 1).prefill
    assert prefill is not None
    return torch.log_softmax(torch.from_numpy(prefill).double(), -1).numpy()


def test_another_build_gives_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    build._run_child(checkpoint.name, tmp_path)
    assert contents(tmp_path) == contents(checkpoint.path)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }
