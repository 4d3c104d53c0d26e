"""The files that releases run: written once, checked before each use, built again if they are damaged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from vlm_parity.models import build
from vlm_parity.models.build import build_checkpoint
from vlm_parity.releases import checkpoint as module
from vlm_parity.releases.checkpoint import build_legacy_folder, check_legacy_folder
from vlm_parity.util.errors import DamagedFolderError, UnknownModelError


@pytest.fixture
def writer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process write the files that the environment of the writer would."""

    def run_child(_: str, folder: Path) -> None:
        write_checkpoint(folder / "draft", model_type="qwen2_vl")
        (folder / "draft" / "tokenizer_config.json").write_text("{}")
        for file in (folder / "draft").iterdir():
            file.rename(folder / file.name)
        (folder / "draft").rmdir()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines: list[str] = []
        monkeypatch.setattr(module, "_print_line", lines.append)
        lines.append(str(module._write(command[-1])))
        return subprocess.CompletedProcess(command, 0, "\n".join(lines), "")

    assert not cache.exists()
    monkeypatch.setattr(build, "_get_version", lambda _: "1")
    monkeypatch.setattr(build, "_run_child", run_child)
    monkeypatch.setattr(module, "build_environment", lambda *_: None)
    monkeypatch.setattr(module, "run_child", run)


@pytest.mark.usefixtures("writer")
def test_files_are_written_once_without_weights(cache: Path) -> None:
    lines: list[str] = []
    folder = build_legacy_folder("qwen2_vl", lines.append)
    assert folder == build_legacy_folder("qwen2_vl", lines.append)
    assert folder.parents[1] == cache / "legacy"
    assert not (folder / "model.safetensors").exists()
    assert lines == []
    check_legacy_folder(folder)


@pytest.mark.usefixtures("writer")
def test_damaged_files_are_named_and_written_again() -> None:
    lines: list[str] = []
    folder = build_legacy_folder("qwen2_vl", lines.append)
    (folder / "tokenizer.json").write_text("garbage")
    with pytest.raises(DamagedFolderError, match=r"tokenizer\.json: changed"):
        check_legacy_folder(folder)
    assert build_legacy_folder("qwen2_vl", lines.append) == folder
    check_legacy_folder(folder)
    (line,) = lines
    assert line.startswith("[qwen2_vl] damaged, so it is thrown away and built again: ")


@pytest.mark.usefixtures("writer")
def test_files_of_another_checkpoint_are_not_used() -> None:
    before = build_legacy_folder("qwen2_vl", print)
    os.truncate(build_checkpoint("qwen2_vl").path / "tokenizer.json", 1)
    assert build_legacy_folder("qwen2_vl", print) == before
    assert (before / "tokenizer.json").read_text() == "{}"


def test_a_folder_of_the_user_is_used_as_it_is(tmp_path: Path, cache: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", model_type="qwen2_vl")
    assert build_legacy_folder(str(folder), print) == folder
    check_legacy_folder(folder)
    assert not cache.exists()


def test_a_name_that_is_neither_family_nor_folder_is_an_error() -> None:
    with pytest.raises(UnknownModelError, match="'nonsense' is neither a family"):
        build_legacy_folder("nonsense", print)
