"""Folders of the cache: one build for all processes, damage named and built again, drafts swept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_parity.models.cached_folder import ABANDONED_AFTER_S, print_line, provide_folder
from vlm_parity.schema.manifest import MANIFEST_FILE
from vlm_parity.util.errors import CheckpointBuildError
from vlm_parity.util.file_lock import acquire_lock

ENTRY = Path("key", "tiny")


class Builder:
    """Builds a folder of two files, and keeps the lines for the user."""

    def __init__(self) -> None:
        self.builds = 0
        self.lines: list[str] = []

    def build(self, folder: Path) -> None:
        self.builds += 1
        assert list(folder.iterdir()) == []
        (folder / "config.json").write_text("{}")
        (folder / "weights").mkdir()
        (folder / "weights" / "one.bin").write_bytes(bytes(1000))

    def provide(self, entry: Path = ENTRY) -> Path:
        folder, manifest = provide_folder("models", entry, self.build, self.lines.append)
        assert set(manifest.files) == {"config.json", "weights/one.bin"}
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", MANIFEST_FILE, "weights"]
        assert (folder / "weights" / "one.bin").read_bytes() == bytes(1000)
        return folder


@pytest.fixture
def builder(cache: Path) -> Builder:
    assert not cache.exists()
    return Builder()


def list_entries(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").iterdir())


def test_an_intact_folder_is_built_once(builder: Builder, cache: Path) -> None:
    assert builder.provide() == builder.provide() == cache / "models" / "key" / "tiny"
    assert (builder.builds, builder.lines) == (1, [])
    assert list_entries(cache) == ["key"]


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("garbage")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def replace_by_link(folder: Path) -> None:
    other = folder.parent / "elsewhere"
    folder.rename(other)
    (other / "config.json").unlink()
    folder.symlink_to(other)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda folder: (folder / "config.json").unlink(), "config.json: missing"),
    "missing folder": (lambda folder: shutil.rmtree(folder / "weights"), "weights/one.bin: missing"),
    "extra file": (
        lambda folder: (folder / "chat_template.jinja").touch(),
        "chat_template.jinja: not listed",
    ),
    "truncated file": (lambda folder: os.truncate(folder / "weights" / "one.bin", 999), "one.bin: changed"),
    "changed file": (lambda folder: (folder / "config.json").write_text("[]"), "config.json: changed"),
    "missing manifest": (
        lambda folder: (folder / MANIFEST_FILE).unlink(),
        f"{MANIFEST_FILE}: not a readable",
    ),
    "truncated manifest": (
        lambda folder: os.truncate(folder / MANIFEST_FILE, 30),
        f"{MANIFEST_FILE}: not a ",
    ),
    "empty folder": (
        empty,
        f"{MANIFEST_FILE}: not a readable",
    ),
    "entry that is a file": (replace_by_file, f"{MANIFEST_FILE}: not a readable"),
    "entry that is a link": (replace_by_link, "config.json: missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_named_and_built_again(builder: Builder, damage: str) -> None:
    inflict, message = DAMAGES[damage]
    folder = builder.provide()
    inflict(folder)
    assert builder.provide() == folder
    assert builder.builds == 2
    (line,) = builder.lines
    assert line.startswith("damaged, so it is thrown away and built again: ")
    assert message in line
    assert builder.provide() == folder
    assert builder.builds == 2


def test_what_a_link_leads_to_is_left_alone(builder: Builder) -> None:
    folder = builder.provide()
    replace_by_link(folder)
    builder.provide()
    assert (folder.parent / "elsewhere" / "weights" / "one.bin").exists()


def test_a_name_of_a_file_cannot_control_the_terminal(
    builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    (builder.provide() / "\x1b[2Jevil").touch()
    provide_folder("models", ENTRY, builder.build, print_line)
    assert "\\x1b[2Jevil" in capsys.readouterr().err


def test_a_failed_build_leaves_nothing(builder: Builder, cache: Path) -> None:
    def fail(folder: Path) -> None:
        builder.build(folder)
        raise CheckpointBuildError("no memory")

    with pytest.raises(CheckpointBuildError, match="no memory"):
        provide_folder("models", ENTRY, fail, builder.lines.append)
    assert list_entries(cache) == []
    builder.provide()


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(builder: Builder, cache: Path) -> None:
    cache.mkdir()
    (cache / "models").touch()
    with pytest.raises(CheckpointBuildError, match=r"models.*cannot be built.*set VLM_PARITY_CACHE"):
        builder.provide()


# Several processes


def test_of_two_builders_one_waits_and_uses_the_folder_of_the_other(builder: Builder) -> None:
    begun, proceed = threading.Event(), threading.Event()

    def build_slowly(folder: Path) -> None:
        begun.set()
        assert proceed.wait(10)
        builder.build(folder)

    def report(line: str) -> None:
        builder.lines.append(line)
        proceed.set()

    first = threading.Thread(
        target=lambda: provide_folder("models", ENTRY, build_slowly, builder.lines.append)
    )
    first.start()
    assert begun.wait(10)
    folder, _ = provide_folder("models", ENTRY, builder.build, report)
    first.join()
    assert builder.builds == 1
    assert builder.lines == [f"waiting for another process that builds {ENTRY}"]
    assert builder.provide() == folder


def test_processes_that_meet_a_damaged_folder_build_it_once(builder: Builder, tmp_path: Path) -> None:
    (builder.provide() / "config.json").unlink()
    program = """
import sys, time
from pathlib import Path
from vlm_parity.models.cached_folder import provide_folder
def build(folder):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(0.2)
    (folder / "config.json").write_text("{}")
print(len(provide_folder("models", Path("key", "tiny"), build, lambda line: None)[1].files))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "builds")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["1\n"] * 3
    assert (tmp_path / "builds").read_text() == "built\n"


# Drafts of builds that were killed


def make_draft(cache: Path, name: str, age: float) -> Path:
    draft = cache / "models" / name
    (draft / "half").mkdir(parents=True)
    os.utime(draft, (time.time() - age,) * 2)
    return draft


OLD = ABANDONED_AFTER_S + 60


def test_an_old_draft_is_swept(builder: Builder, cache: Path) -> None:
    for name in (".key-tiny-abcd_123", ".key-other-abcd_123"):
        make_draft(cache, name, OLD)
    builder.provide()
    assert list_entries(cache) == ["key"]


@pytest.mark.parametrize(
    ("name", "age"), [(".key-tiny-abcd_123", 60), ("key-tiny-abcd_123", OLD), (".key-tiny", OLD)]
)
def test_a_young_draft_and_other_folders_stay(builder: Builder, cache: Path, name: str, age: float) -> None:
    draft = make_draft(cache, name, age)
    builder.provide()
    assert (draft / "half").exists()


def test_a_draft_in_use_stays(builder: Builder, cache: Path) -> None:
    draft = make_draft(cache, ".slow-abcd_123", OLD)
    with acquire_lock("models-slow"):
        builder.provide()
        assert draft.exists()
    builder.provide()
    assert not draft.exists()


def test_a_killed_build_leaves_a_draft_that_is_no_entry(builder: Builder, cache: Path) -> None:
    program = """
import os, signal
from pathlib import Path
from vlm_parity.models.cached_folder import provide_folder
def build(folder):
    (folder / "config.json").write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)
provide_folder("models", Path("key", "tiny"), build, print)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (draft,) = (cache / "models").iterdir()
    builder.provide()
    assert draft.exists()
    os.utime(draft, (time.time() - OLD,) * 2)
    builder.provide()
    assert list_entries(cache) == ["key"]
