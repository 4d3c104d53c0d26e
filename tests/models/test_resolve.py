"""Resolution of families, entries of the model list, folders and hub ids, and its errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import COMMIT, WEIGHTS, write_checkpoint
from vlm_parity.models import resolve
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
    """Record the downloads from a hub that returns a Qwen3-VL."""
    requests: list[Any] = []

    def download(*arguments: Any) -> Path:
        requests.append(arguments)
        return write_checkpoint(tmp_path / "abc123", model_type="qwen3_vl")

    monkeypatch.setattr(resolve, "download_snapshot", download)
    return requests


def test_family_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    synthetic = Checkpoint("qwen2_vl", "qwen2_vl", tmp_path, "synthetic", "d")
    monkeypatch.setattr(resolve, "build_checkpoint", lambda *_: synthetic)
    assert resolve_model("qwen2_vl") is synthetic


@pytest.mark.parametrize(
    ("model_type", "family"), [("qwen2_5_vl", "qwen2_5_vl"), ("some_new_model", "some_new_model")]
)
def test_family_of_a_folder_is_that_of_its_model_type(tmp_path: Path, model_type: str, family: str) -> None:
    checkpoint = resolve_model(str(write_checkpoint(tmp_path / "my model (v2)", model_type=model_type)))
    assert (checkpoint.name, checkpoint.source) == ("my-model-v2-", "my model (v2)")
    assert checkpoint.family == family


def test_digest_changes_with_contents_and_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    digests = [resolve_model(str(folder)).digest, resolve_model(str(folder)).digest]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    digests.append(resolve_model(str(folder)).digest)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    digests.append(resolve_model(str(folder)).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


# Incomplete folders


def test_write_checkpointout_a_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no config\.json, which states the architecture"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", "{}", "", "[" * 100_000])
def test_unreadable_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UnknownModelError, match=r"config\.json: no JSON object with a model_type"):
        resolve_model(str(tmp_path))


def test_config_that_is_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UnknownModelError, match=r"config\.json: .*is a pipe, not a file"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("tokenizer.json", "no tokenizer in it, which is needed for the ids: one of tokenizer.json, "),
        (
            "preprocessor_config.json",
            "no processor in it, which is needed for the media and their spans: one of preprocessor_con",
        ),
        ("model.safetensors", "no weights in it, which is needed for the depth logits; `--depth tokens`"),
    ],
)
def test_error_names_a_missing_file_and_its_purpose(tmp_path: Path, file: str, message: str) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    (folder / file).unlink()
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(str(folder))
    assert str(caught.value).startswith(f"{folder}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_error_names_all_missing_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(str(tmp_path), weights=False)
    assert [line.split()[2] for line in str(caught.value).splitlines()] == ["tokenizer", "processor"]


@pytest.mark.parametrize(
    "tokenizer", ["tokenizer.model", "vocab.json", "qwen.tiktoken", "tiktoken.model", "tekken.json"]
)
def test_depth_tokens_needs_no_weights_and_accepts_many_tokenizer_files(
    tmp_path: Path, tokenizer: str
) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").rename(folder / tokenizer)
    assert resolve_model(str(folder), weights=False).family == "qwen2_vl"


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json", "chat_template.jinja"])
def test_empty_file_is_named(tmp_path: Path, file: str) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    (folder / file).write_text("")
    with pytest.raises(UnknownModelError, match=rf"{file} is empty: copy or download it again"):
        resolve_model(str(folder), weights=False)


def test_incomplete_weights_are_named_if_they_are_needed(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(UnknownModelError, match=r"model\.safetensors is cut off or no safetensors file"):
        resolve_model(str(folder))
    assert resolve_model(str(folder), weights=False).family == "qwen2_vl"


# Values that match nothing


@pytest.mark.parametrize(
    "spec", ["qwen9_vl", "./no/such/folder", "./folder", "../folder", "a/b/c", "a b/c", ""]
)
def test_unknown_value_is_an_error(spec: str) -> None:
    with pytest.raises(
        UnknownModelError, match=r"is no family \(qwen2_vl, .*no existing folder, and no hub id"
    ):
        resolve_model(spec)
    assert not resolve.is_model_spec(spec, {})


def test_error_mentions_the_model_list() -> None:
    with pytest.raises(
        UnknownModelError, match=r"no entry of the model list \(`parity models` prints it\), no "
    ):
        resolve_model("qwen3-vl-3b", model_list={ENTRY.name: ENTRY})


def test_model_specs_are_recognized_without_a_lookup(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    for spec in ("qwen2_vl", "qwen3-vl-2b", str(tmp_path), "org/name", "org/name@v1.0"):
        assert resolve.is_model_spec(spec, {ENTRY.name: ENTRY})


def test_folder_without_configuration_is_no_model(tmp_path: Path) -> None:
    assert not resolve.is_model_spec(str(tmp_path), {})
    assert "is a folder without config.json" in resolve.describe_unknown_model(str(tmp_path), {})


def test_misspelled_model_gets_a_suggestion() -> None:
    message = resolve.describe_unknown_model("Qwen2-VL-7B", {ENTRY.name: ENTRY})
    assert message.endswith("; did you mean qwen2_vl or qwen3-vl-2b or qwen2_5_vl?")


# The hub


def test_hub_model(downloads: list[Any]) -> None:
    checkpoint = resolve_model("Qwen/Qwen3-VL-2B@main")
    assert downloads == [("Qwen/Qwen3-VL-2B", "main", [])]
    assert (checkpoint.name, checkpoint.family) == ("Qwen--Qwen3-VL-2B", "qwen3_vl")
    assert checkpoint.source == "Qwen/Qwen3-VL-2B@abc123"
    assert not checkpoint.trust_remote_code


def test_depth_tokens_downloads_no_weights(downloads: list[Any]) -> None:
    resolve_model("Qwen/Qwen3-VL-2B", weights=False)
    assert downloads == [("Qwen/Qwen3-VL-2B", None, ["*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf"])]


def test_entry_of_the_model_list(downloads: list[Any]) -> None:
    checkpoint = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: ENTRY})
    assert downloads == [("Qwen/Qwen3-VL-2B-Instruct", COMMIT, [])]
    assert (checkpoint.name, checkpoint.source) == ("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct@abc123")
    assert not checkpoint.trust_remote_code


def test_entry_sets_the_family_and_trust_in_remote_code(downloads: list[Any], tmp_path: Path) -> None:
    plain = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: ENTRY})
    (tmp_path / "abc123").rename(tmp_path / "before")
    other = ENTRY.model_copy(update={"family": "qwen2_5_vl", "trust_remote_code": True})
    checkpoint = resolve_model("qwen3-vl-2b", model_list={ENTRY.name: other})
    assert (checkpoint.family, checkpoint.trust_remote_code) == ("qwen2_5_vl", True)
    assert checkpoint.digest != plain.digest
    assert len(downloads) == 2


def test_entry_of_an_unregistered_family_has_its_model_type(downloads: list[Any]) -> None:
    entry = ENTRY.model_copy(update={"family": "some_new_family"})
    assert resolve_model("qwen3-vl-2b", model_list={ENTRY.name: entry}).family == "qwen3_vl"
    assert len(downloads) == 1
