"""Cached checkpoints: killed while one is built, full disks, damaged files; the next use builds it again."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.support.faults.control import Control
from tests.support.faults.damages import DAMAGES, FOLDER_DAMAGES
from tests.support.faults.figures import Experiments
from tests.support.faults.file_faults import KILL, Fault, FileFaults
from vlm_parity.models.cached_folder import provide_folder
from vlm_parity.util.environment_variables import CACHE_VARIABLE
from vlm_parity.util.errors import ParityError

FILES = {"config.json": b"{}", "model.safetensors": bytes(100), "processor/preprocessor_config.json": b"[1]"}
ENTRY = Path("tiny", "0123")
DONE, SENTENCE, EXCEPTION = 0, 3, 70
"""Exit codes of a child."""


class Builds:
    """Uses of a cached checkpoint, each in a fork of this process."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache" / "models"
        self._folder = folder
        self._numbers = count()
        (folder / "cache").mkdir()

    def use(self, fault: Fault | None = None) -> tuple[int, Control]:
        """Use the checkpoint, which builds it if needed; return the child's exit code."""
        control = Control(self._folder / f"control-{next(self._numbers)}")
        pid = os.fork()
        if pid == 0:
            self._use_and_exit(control, fault)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), control

    def _use_and_exit(self, control: Control, fault: Fault | None) -> None:
        code = EXCEPTION
        try:
            os.chdir(self._folder / "cache")
            os.environ[CACHE_VARIABLE] = str(self._folder / "cache")
            FileFaults(self._folder / "cache", control.folder, fault)
            folder, _ = provide_folder("models", ENTRY, _build, lambda _: None)
            code = DONE if _read(folder) == FILES else EXCEPTION
        except ParityError:
            code = SENTENCE
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)

    def find_violations(self, code: int, expected: set[int]) -> list[str]:
        """Return what is wrong after a use, and after the next one, which heals."""
        violations = [] if code in expected else [f"it ended with {code}"]
        healed, _ = self.use()
        return violations if healed == DONE else [*violations, f"the next use ended with {healed}"]


def _build(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _read(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], Builds]:
    """Return a function that starts with an empty cache."""
    numbers = count()

    def start() -> Builds:
        folder = tmp_path / f"start-{next(numbers)}"
        folder.mkdir()
        return Builds(folder)

    return start


@pytest.mark.parametrize(
    ("action", "lasts", "expected"),
    [(KILL, False, {-9}), ("ENOSPC", True, {SENTENCE}), ("EACCES", False, {SENTENCE, DONE})],
)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "damaged"])
def test_fault_while_building(
    start: Callable[[], Builds],
    experiments: Experiments,
    action: str,
    lasts: bool,
    expected: set[int],
    exists: bool,
) -> None:
    def prepare() -> Builds:
        builds = start()
        if exists:
            assert builds.use()[0] == DONE
            (builds.root / ENTRY / "config.json").write_text("damaged")
        return builds

    operations = prepare().use()[1].operations
    assert operations
    name = "killed while a checkpoint is built" if action == KILL else "no space to build a checkpoint"
    for number in experiments.choose(name, range(len(operations)), 0, 4, shares=1):
        builds = prepare()
        code, _ = builds.use(Fault(action, number, lasts=lasts))
        allowed = expected | ({DONE} if operations[number].startswith("empty") and action != KILL else set())
        experiments.add(f"{action} at {operations[number]}", builds.find_violations(code, allowed))
        shutil.rmtree(builds.root)
    experiments.verify()


def test_damaged_checkpoint(start: Callable[[], Builds], experiments: Experiments) -> None:
    files = [(name, damage) for name in (*FILES, "manifest.json") for damage in DAMAGES]
    folders = [(name, damage) for name in ("", "processor") for damage in FOLDER_DAMAGES]
    for name, damage in experiments.choose("a damaged checkpoint", [*files, *folders], 0, 3, shares=1):
        builds = start()
        assert builds.use()[0] == DONE
        path = builds.root / ENTRY / name
        (DAMAGES if path.is_file() else FOLDER_DAMAGES)[damage](path)
        code, _ = builds.use()
        experiments.add(f"{name}, {damage}", builds.find_violations(code, {DONE}))
    experiments.verify()
