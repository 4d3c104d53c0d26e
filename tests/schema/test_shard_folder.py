"""Folders of shards: only the harness's own are replaced, and only by one session at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlm_parity.schema.run_layout import SELFCHECK_RECORD, SHARD_RECORD
from vlm_parity.schema.shard_folder import (
    ShardHold,
    check_free,
    create_shard,
    hold_finished,
    is_held,
    read_holder,
)
from vlm_parity.util.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "shards" / "vllm"


def write_shard(folder: Path) -> None:
    """Write a shard as a session does that ends before its first record."""
    with create_shard(folder):
        (folder / "logs").mkdir()


@contextmanager
def hold_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold a shard in another process, which a test may kill."""
    program = (
        "import sys; from pathlib import Path; from vlm_parity.schema.shard_folder import create_shard\n"
        "hold = create_shard(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("record", [SHARD_RECORD, SELFCHECK_RECORD])
def test_a_shard_is_replaced(folder: Path, record: str) -> None:
    (folder / "traces").mkdir(parents=True)
    (folder / "latest").symlink_to("traces")
    (folder / record).write_text("{}")
    with create_shard(folder):
        assert [entry.name for entry in folder.iterdir()] == [".vlm-parity-shard"]


def test_a_shard_without_a_record_yet_is_replaced(folder: Path) -> None:
    write_shard(folder)
    with create_shard(folder):
        assert not (folder / "logs").exists()


def test_a_shard_in_which_nothing_was_written_is_removed(folder: Path) -> None:
    create_shard(folder).release()
    assert list(folder.parent.iterdir()) == []


def test_a_folder_of_somebody_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no shard, so it is not replaced"):
        create_shard(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_link_to_a_shard_is_no_shard(tmp_path: Path, folder: Path) -> None:
    write_shard(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="exists and is no shard"):
        create_shard(tmp_path / "link")
    assert (folder / "logs").exists()


def test_a_second_session_fails_at_once_and_destroys_nothing(folder: Path) -> None:
    with hold_elsewhere(folder) as other:
        (folder / "verdicts").mkdir()
        message = f"{folder}: another session (process {other.pid}) uses the shard 'vllm'"
        with pytest.raises(UsageError, match=re.escape(message)):
            create_shard(folder)
        with pytest.raises(UsageError, match=re.escape(message)):
            check_free(folder)
        with pytest.raises(UsageError), hold_finished(folder, shared=True):
            pytest.fail("it is not finished")
        assert (is_held(folder), read_holder(folder)) == (True, other.pid)
        assert (folder / "verdicts").exists()


def test_the_shard_of_a_killed_session_is_free(folder: Path) -> None:
    with hold_elsewhere(folder) as other:
        other.kill()
        other.wait()
        assert (is_held(folder), read_holder(folder)) == (False, None)
        check_free(folder)
        with create_shard(folder):
            assert read_holder(folder) == os.getpid()


@pytest.mark.parametrize("content", ["", "x", "9" * 20, "9" * 10_000, "-1"])
def test_a_mark_that_names_no_process(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / ".vlm-parity-shard").write_text(content)
    assert read_holder(folder) is None


def test_a_pipe_in_place_of_the_mark(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / ".vlm-parity-shard")
    assert read_holder(folder) is None


def test_a_shard_is_held_against_this_process_too(folder: Path) -> None:
    with ShardHold(folder), pytest.raises(UsageError, match=f"process {os.getpid()}"):
        ShardHold(folder)
    assert not is_held(folder)


def test_finished_shards_are_read_together_and_moved_alone(folder: Path) -> None:
    write_shard(folder)
    with hold_finished(folder, shared=True), hold_finished(folder, shared=True):
        with pytest.raises(UsageError), hold_finished(folder):
            pytest.fail("it is being read")
        with pytest.raises(UsageError):
            create_shard(folder)


def test_the_process_of_an_earlier_session_is_not_named(folder: Path) -> None:
    write_shard(folder)
    (folder / ".vlm-parity-shard").write_text(str(2**22 + 1))
    with hold_finished(folder), pytest.raises(UsageError, match="another session uses"):
        create_shard(folder)


def test_a_shard_that_does_not_exist_is_free(folder: Path) -> None:
    check_free(folder)
    assert not folder.parent.exists()


def test_an_earlier_shard_that_was_cleared_stays_incomplete(folder: Path) -> None:
    write_shard(folder)
    create_shard(folder).release()
    assert folder.is_dir()


def test_a_damaged_mark_of_a_shard_is_replaced(folder: Path) -> None:
    write_shard(folder)
    (folder / SHARD_RECORD).write_text("{}")
    (mark,) = (path for path in folder.iterdir() if path.name.startswith("."))
    mark.unlink()
    mark.mkdir()
    create_shard(folder).release()
    assert mark.is_file()
