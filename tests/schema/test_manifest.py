"""Manifests: any change to a folder is found and named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_parity.schema.manifest import MANIFEST_FILE, check_manifest, write_manifest
from vlm_parity.util.errors import DamagedFolderError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a manifest, one subfolder without and one with a manifest of its own."""
    folder = tmp_path / "entry"
    for name in ("weights.bin", "tokenizer/vocab.json", "floor/float32/floor.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    write_manifest(folder / "floor" / "float32")
    write_manifest(folder)
    return folder


def test_an_intact_folder_has_its_manifest(folder: Path) -> None:
    assert list(check_manifest(folder).files) == ["tokenizer/vocab.json", "weights.bin"]
    assert list(check_manifest(folder / "floor" / "float32").files) == ["floor.json"]


def test_the_digest_depends_on_content_alone(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    moved = check_manifest(tmp_path / "elsewhere")
    assert write_manifest(tmp_path / "elsewhere").digest == moved.digest
    (tmp_path / "elsewhere" / "weights.bin").write_text("other")
    assert write_manifest(tmp_path / "elsewhere").digest != moved.digest


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is deleted": (lambda folder: (folder / "weights.bin").unlink(), "weights.bin: missing"),
    "a file is truncated": (
        lambda folder: (folder / "weights.bin").write_text("wei"),
        "weights.bin: changed",
    ),
    "a file is emptied": (lambda folder: (folder / "weights.bin").write_text(""), "weights.bin: changed"),
    "a file is added": (lambda folder: (folder / "more.bin").touch(), "more.bin: not listed"),
    "a file of a subfolder is changed": (
        lambda folder: (folder / "tokenizer" / "vocab.json").write_text("?"),
        "tokenizer/vocab.json: changed",
    ),
    "the manifest is deleted": (lambda folder: (folder / MANIFEST_FILE).unlink(), "manifest.json: not a"),
    "the manifest is truncated": (
        lambda folder: (folder / MANIFEST_FILE).write_text("{"),
        "manifest.json: not a",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(folder: Path, damage: str) -> None:
    inflict, message = DAMAGES[damage]
    inflict(folder)
    with pytest.raises(DamagedFolderError, match=message):
        check_manifest(folder)


def test_a_file_replaced_by_a_folder_is_damage(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").mkdir()
    with pytest.raises(DamagedFolderError, match=r"weights\.bin: missing"):
        check_manifest(folder)


def test_a_pipe_in_place_of_a_file_is_damage(folder: Path) -> None:
    (folder / "weights.bin").unlink()
    os.mkfifo(folder / "weights.bin")
    with pytest.raises(DamagedFolderError, match=r"weights\.bin: no regular file"):
        check_manifest(folder)


def test_a_file_in_place_of_the_folder_is_damage(tmp_path: Path) -> None:
    (tmp_path / "entry").touch()
    with pytest.raises(DamagedFolderError, match=r"manifest\.json: not a readable Manifest"):
        check_manifest(tmp_path / "entry")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["weights.bin", "tokenizer/vocab.json", MANIFEST_FILE]), data=st.data())
def test_one_flipped_bit_anywhere_is_damage(folder: Path, name: str, data: st.DataObject) -> None:
    intact, content = check_manifest(folder), (folder / name).read_bytes()
    place = data.draw(st.integers(0, 8 * len(content) - 1), label="bit")
    flipped = bytearray(content)
    flipped[place // 8] ^= 1 << place % 8
    (folder / name).write_bytes(flipped)
    try:
        # White space between the entries of the manifest carries nothing.
        assert find_damage(folder) or (name == MANIFEST_FILE and check_manifest(folder) == intact)
    finally:
        (folder / name).write_bytes(content)


def find_damage(folder: Path) -> str:
    """Return the message about a damaged folder, or nothing."""
    try:
        check_manifest(folder)
    except DamagedFolderError as error:
        return str(error)
    return ""
