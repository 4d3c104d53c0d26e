"""Resolving: families, folders and hub ids, and what to do where none fits."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from harness.models import resolve as resolving
from harness.models.checkpoint import Checkpoint
from harness.models.resolve import UnknownModel, resolve


def folder_with(path: Path, **config: object) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_family_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    synthetic = Checkpoint("qwen2_vl", "qwen2_vl", tmp_path, "synthetic", "d")
    monkeypatch.setattr(resolving, "build_checkpoint", lambda _: synthetic)
    assert resolve("qwen2_vl") is synthetic


@pytest.mark.parametrize(
    ("model_type", "family"), [("qwen2_5_vl", "qwen2_5_vl"), ("some_new_model", "some_new_model")]
)
def test_folder_takes_its_family_from_the_model_type(tmp_path: Path, model_type: str, family: str) -> None:
    checkpoint = resolve(str(folder_with(tmp_path / "my model (v2)", model_type=model_type)))
    assert (checkpoint.name, checkpoint.source) == ("my-model-v2-", "my model (v2)")
    assert checkpoint.family == family


def test_digest_follows_contents_and_weights(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", model_type="qwen2_vl")
    digests = [resolve(str(folder)).digest, resolve(str(folder)).digest]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    digests.append(resolve(str(folder)).digest)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    digests.append(resolve(str(folder)).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_unreadable_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UnknownModel, match=r"config\.json: no JSON object with a model_type"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("spec", ["qwen9_vl", "./no/such/folder", "a/b/c", "a b/c", ""])
def test_what_fits_nothing_is_refused(spec: str) -> None:
    with pytest.raises(UnknownModel, match=r"is no family \(qwen2_vl, .*no existing folder, and no hub id"):
        resolve(spec)


def test_hub_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def download(hub_id: str, revision: str | None, weights: bool) -> Path:
        asked.append((hub_id, revision, weights))
        return folder_with(tmp_path / "abc123", model_type="qwen3_vl")

    monkeypatch.setattr(resolving, "_download", download)
    checkpoint = resolve("Qwen/Qwen3-VL-2B@main", weights=False)
    assert asked == [("Qwen/Qwen3-VL-2B", "main", False)]
    assert (checkpoint.name, checkpoint.family) == ("Qwen--Qwen3-VL-2B", "qwen3_vl")
    assert checkpoint.source == "Qwen/Qwen3-VL-2B@abc123"


def test_missing_hub_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnknownModel, match=r"org/name@main: .*pip install huggingface_hub"):
        resolve("org/name@main")
