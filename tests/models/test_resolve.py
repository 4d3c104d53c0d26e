"""Resolving: families, entries of the model list, folders and hub ids, and what to do where none fits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import COMMIT, folder_with
from vlm_parity.models import resolve as resolving
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.resolve import resolve_model
from vlm_parity.util.errors import UnknownModelError

ENTRY = ListedModel(
    name="qwen3-vl-2b",
    hub_id="Qwen/Qwen3-VL-2B-Instruct",
    revision=COMMIT,
    family="qwen3_vl",
    memory_gib=10,
    dtype="bfloat16",
)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What is asked of the hub, which gives a Qwen3-VL."""
    asked: list[Any] = []

    def download(*wanted: Any) -> Path:
        asked.append(wanted)
        return folder_with(tmp_path / "abc123", model_type="qwen3_vl")

    monkeypatch.setattr(resolving, "download_snapshot", download)
    return asked


def test_family_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    synthetic = Checkpoint("qwen2_vl", "qwen2_vl", tmp_path, "synthetic", "d")
    monkeypatch.setattr(resolving, "build_checkpoint", lambda _: synthetic)
    assert resolve_model("qwen2_vl") is synthetic


@pytest.mark.parametrize(
    ("model_type", "family"), [("qwen2_5_vl", "qwen2_5_vl"), ("some_new_model", "some_new_model")]
)
def test_folder_takes_its_family_from_the_model_type(tmp_path: Path, model_type: str, family: str) -> None:
    checkpoint = resolve_model(str(folder_with(tmp_path / "my model (v2)", model_type=model_type)))
    assert (checkpoint.name, checkpoint.source) == ("my-model-v2-", "my model (v2)")
    assert checkpoint.family == family


def test_digest_follows_contents_and_weights(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", model_type="qwen2_vl")
    digests = [resolve_model(str(folder)).digest, resolve_model(str(folder)).digest]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    digests.append(resolve_model(str(folder)).digest)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    digests.append(resolve_model(str(folder)).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


# What a folder lacks


def test_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no config\.json, which says what architecture it is of"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_unreadable_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UnknownModelError, match=r"config\.json: no JSON object with a model_type"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("tokenizer.json", "no tokenizer in it, which is needed for the ids: one of tokenizer.json, "),
        (
            "preprocessor_config.json",
            "no processor in it, which is needed for the media and their spans: one of preprocessor_con",
        ),
        ("model.safetensors", "no weights in it, which is needed for the depth logits; `--depth tokens`"),
    ],
)
def test_a_file_that_is_missing_is_named_with_its_purpose(tmp_path: Path, file: str, told: str) -> None:
    folder = folder_with(tmp_path / "model", model_type="qwen2_vl")
    (folder / file).unlink()
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(str(folder))
    assert str(caught.value).startswith(f"{folder}: {told}")
    assert len(str(caught.value).splitlines()) == 1


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(str(tmp_path), weights=False)
    assert [line.split()[2] for line in str(caught.value).splitlines()] == ["tokenizer", "processor"]


@pytest.mark.parametrize(
    "tokenizer", ["tokenizer.model", "vocab.json", "qwen.tiktoken", "tiktoken.model", "tekken.json"]
)
def test_no_weights_are_needed_for_tokens_and_a_tokenizer_has_many_names(
    tmp_path: Path, tokenizer: str
) -> None:
    folder = folder_with(tmp_path / "model", model_type="qwen2_vl")
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").rename(folder / tokenizer)
    assert resolve_model(str(folder), weights=False).family == "qwen2_vl"


# What fits nothing


@pytest.mark.parametrize(
    "spec", ["qwen9_vl", "./no/such/folder", "./folder", "../folder", "a/b/c", "a b/c", ""]
)
def test_what_fits_nothing_is_refused(spec: str) -> None:
    with pytest.raises(
        UnknownModelError, match=r"is no family \(qwen2_vl, .*no existing folder, and no hub id"
    ):
        resolve_model(spec)
    assert not resolving.is_model_spec(spec, {})


def test_the_model_list_is_named_where_there_is_one() -> None:
    with pytest.raises(
        UnknownModelError, match=r"no entry of the model list \(`parity models` prints it\), no "
    ):
        resolve_model("qwen3-vl-3b", model_list={ENTRY.name: ENTRY})


def test_what_names_something_is_told_without_a_look(tmp_path: Path) -> None:
    for spec in ("qwen2_vl", "qwen3-vl-2b", str(tmp_path), "org/name", "org/name@v1.0"):
        assert resolving.is_model_spec(spec, {ENTRY.name: ENTRY})


# The hub


def test_hub_model(downloads: list[Any]) -> None:
    checkpoint = resolve_model("Qwen/Qwen3-VL-2B@main")
    assert downloads == [("Qwen/Qwen3-VL-2B", "main", [])]
    assert (checkpoint.name, checkpoint.family) == ("Qwen--Qwen3-VL-2B", "qwen3_vl")
    assert checkpoint.source == "Qwen/Qwen3-VL-2B@abc123"
    assert not checkpoint.trust_remote_code


def test_no_weights_are_fetched_for_tokens(downloads: list[Any]) -> None:
    resolve_model("Qwen/Qwen3-VL-2B", weights=False)
    assert downloads == [("Qwen/Qwen3-VL-2B", None, ["*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf"])]


def test_an_entry_of_the_model_list(downloads: list[Any]) -> None:
    checkpoint = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: ENTRY})
    assert downloads == [("Qwen/Qwen3-VL-2B-Instruct", COMMIT, [])]
    assert (checkpoint.name, checkpoint.source) == ("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct@abc123")
    assert not checkpoint.trust_remote_code


def test_an_entry_says_the_family_and_whether_code_is_run(downloads: list[Any], tmp_path: Path) -> None:
    plain = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: ENTRY})
    (tmp_path / "abc123").rename(tmp_path / "before")
    other = ENTRY.model_copy(update={"family": "qwen2_5_vl", "trust_remote_code": True})
    checkpoint = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: other})
    assert (checkpoint.family, checkpoint.trust_remote_code) == ("qwen2_5_vl", True)
    assert checkpoint.digest != plain.digest
    assert len(downloads) == 2


def test_an_entry_of_a_family_that_is_not_registered_has_its_model_type(downloads: list[Any]) -> None:
    entry = ENTRY.model_copy(update={"family": "some_new_family"})
    assert resolve_model("qwen3-vl-2b", model_list={ENTRY.name: entry}).family == "qwen3_vl"
    assert len(downloads) == 1
