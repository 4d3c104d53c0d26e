"""Weights: every missing, empty or cut-off file is named, and complete ones pass."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.checkpoints import WEIGHTS
from vlm_parity.models.weight_files import check_weight_files
from vlm_parity.util.errors import UnknownModelError

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three shards and their index."""
    for name in SHARDS:
        (tmp_path / name).write_bytes(WEIGHTS)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": dict(zip("abc", SHARDS, strict=True))}))
    return tmp_path


def find_problems(folder: Path) -> list[str]:
    try:
        check_weight_files(folder, "org/name")
    except UnknownModelError as error:
        return str(error).splitlines()
    return []


def test_complete_weights_pass(folder: Path) -> None:
    assert find_problems(folder) == []
    (folder / INDEX).unlink()
    assert find_problems(folder) == []


def test_missing_shard_of_an_index_is_named(folder: Path) -> None:
    (folder / SHARDS[1]).unlink()
    assert f"org/name: no {SHARDS[1]} in it, which {INDEX} lists" in find_problems(folder)


def test_all_shards_may_be_missing(folder: Path) -> None:
    for name in SHARDS:
        (folder / name).unlink()
    assert len(find_problems(folder)) == 3


def test_missing_shard_is_noticed_by_the_numbers_of_the_others(folder: Path) -> None:
    (folder / INDEX).unlink()
    (folder / SHARDS[2]).unlink()
    message = "org/name: 1 of the 3 shards model-*-of-00003.safetensors are missing in it"
    assert find_problems(folder) == [message]


@pytest.mark.parametrize("length", [1, 8, len(WEIGHTS) - 1])
def test_cut_off_file_is_named(folder: Path, length: int) -> None:
    (folder / SHARDS[0]).write_bytes(WEIGHTS[:length])
    (problem,) = find_problems(folder)
    assert problem.startswith(f"org/name: {SHARDS[0]} is cut off or no safetensors file: ")


@pytest.mark.parametrize("name", [SHARDS[0], "pytorch_model.bin"])
def test_empty_file_is_named(folder: Path, name: str) -> None:
    if name.endswith(".bin"):
        for file in folder.iterdir():
            file.unlink()
    (folder / name).write_bytes(b"")
    assert find_problems(folder) == [f"org/name: {name} is empty: copy or download it again"]


def test_pointer_of_git_lfs_is_explained(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4000000000\n"
    (folder / SHARDS[0]).write_text(pointer)
    (problem,) = find_problems(folder)
    assert problem == (
        f"org/name: {SHARDS[0]} is a pointer of Git LFS, not the file: run `git lfs pull` in its folder"
    )


def test_link_to_a_missing_file_is_named(folder: Path) -> None:
    (folder / SHARDS[0]).unlink()
    (folder / SHARDS[0]).symlink_to("gone")
    (problem,) = find_problems(folder)
    assert problem.startswith(f"org/name: {SHARDS[0]} is no file, or a link to one that is gone")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": []}', "[" * 100_000])
def test_unreadable_index_is_named(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    (problem,) = find_problems(folder)
    assert f"{INDEX}: no index of shards with a weight_map: " in problem


def test_index_of_a_format_that_is_not_loaded_does_not_count(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "deleted.bin"}}')
    assert find_problems(folder) == []


def test_stale_index_beside_a_whole_file_does_not_count(folder: Path) -> None:
    (folder / SHARDS[1]).unlink()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert find_problems(folder) == []


def test_pipes_do_not_block(folder: Path) -> None:
    (folder / INDEX).unlink()
    os.mkfifo(folder / INDEX)
    (problem,) = find_problems(folder)
    assert "is a pipe, not a file" in problem
    (folder / INDEX).unlink()
    (folder / SHARDS[0]).unlink()
    os.mkfifo(folder / SHARDS[0])
    (problem,) = find_problems(folder)
    assert problem.startswith(f"org/name: {SHARDS[0]} is no file")
