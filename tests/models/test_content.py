"""Contents: a change to a checkpoint between two loads is found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import (
    check_unchanged,
    compute_checkpoint_digest,
    compute_content,
    format_manifest_content,
)
from vlm_parity.schema.manifest import MANIFEST_FILE, write_manifest
from vlm_parity.util.errors import CheckpointChangedError

CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is deleted": lambda folder: (folder / "tokenizer.json").unlink(),
    "a file is emptied": lambda folder: (folder / "tokenizer.json").write_text(""),
    "a file is added": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    "the weights are deleted": lambda folder: (folder / "model.safetensors").unlink(),
    "the weights are written again": lambda folder: os.utime(folder / "model.safetensors", ns=(1, 1)),
    "the weights are cut off": lambda folder: (folder / "model.safetensors").write_bytes(b"w"),
    "the folder is renamed": lambda folder: folder.rename(folder.with_name("elsewhere")),
}


@pytest.fixture(params=["cached", "local"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    """Return a checkpoint in the cache or in a folder of the user, as a session has found it."""
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    if request.param == "cached":
        content = format_manifest_content(write_manifest(folder))
    else:
        content = compute_content(folder)
    return Checkpoint("model", "qwen2_vl", folder, request.param, "digest", content=content)


def test_an_unchanged_checkpoint_passes(checkpoint: Checkpoint) -> None:
    check_unchanged(checkpoint)
    for file in checkpoint.path.iterdir():
        file.read_bytes()
    check_unchanged(checkpoint)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_checkpoint_is_named(checkpoint: Checkpoint, change: str) -> None:
    if checkpoint.source == "cached" and change == "the weights are written again":
        pytest.skip("the bytes decide")
    CHANGES[change](checkpoint.path)
    with pytest.raises(CheckpointChangedError) as caught:
        check_unchanged(checkpoint)
    assert f"the files of model in {checkpoint.path} changed during the session" in str(caught.value)


def test_another_intact_checkpoint_in_its_place_is_a_change(checkpoint: Checkpoint) -> None:
    (checkpoint.path / "tokenizer.json").write_text('{"other": 1}')
    if (checkpoint.path / MANIFEST_FILE).exists():
        write_manifest(checkpoint.path)
    with pytest.raises(CheckpointChangedError):
        check_unchanged(checkpoint)


def test_a_hidden_file_does_not_count(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    before = compute_content(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "download.lock").touch()
    assert compute_content(folder) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a checkpoint whose weights are larger than all samples of them."""
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 2**15)
    return folder


def test_the_digest_of_a_copy_is_the_same(folder: Path) -> None:
    digest = compute_checkpoint_digest(folder, weights=True)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    write_manifest(folder)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    config = json.loads((folder / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "5.24.0"}))
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "5.19.0"}, indent=1))
    assert compute_checkpoint_digest(copy, weights=True) == compute_checkpoint_digest(folder, weights=True)
    assert digest != compute_checkpoint_digest(copy, weights=False)


@pytest.mark.parametrize(
    "change", sorted({*CHANGES} - {"the weights are written again", "the folder is renamed"})
)
def test_the_digest_shows_a_change(folder: Path, change: str) -> None:
    before = [compute_checkpoint_digest(folder, weights) for weights in (True, False)]
    CHANGES[change](folder)
    after = [compute_checkpoint_digest(folder, weights) for weights in (True, False)]
    assert before[0] != after[0]
    assert (before[1] == after[1]) == ("weights" in change)


@pytest.mark.parametrize("offset", [0, -1])
def test_the_first_and_the_last_byte_of_the_weights_count(folder: Path, offset: int) -> None:
    before = compute_checkpoint_digest(folder, weights=True)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[offset] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert compute_checkpoint_digest(folder, weights=True) != before
