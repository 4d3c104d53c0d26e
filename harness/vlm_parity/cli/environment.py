"""``parity fix-torchvision`` and ``parity cache``: the state of this environment."""

from __future__ import annotations

import argparse
import shutil
import sys

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.util.errors import RepairError, UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.text import escape_terminal

_REPAIR = """\
Repair torchvision if its compiled part cannot be loaded. pip may install CUDA builds of torchvision,
torchaudio and torchcodec next to a CPU build of PyTorch; transformers then fails to import. An import hook
makes torchvision importable; the other two are uninstalled, because no processor needs them. Working packages
are left alone.

  parity fix-torchvision
"""
_REPAIR_EXIT_CODES = """\
exit codes:
  0  torchvision works
  1  a package still cannot be imported
  2  usage error
"""
_CACHE = """\
Print the size of each part of the cache: synthetic checkpoints, reference traces, environments of releases.
The cache is in the user's cache folder, or in $VLM_PARITY_CACHE.

  parity cache
  parity cache --clear
"""


def add_commands(commands: Commands) -> None:
    """Add ``fix-torchvision`` and ``cache``."""
    add_command(
        commands,
        "fix-torchvision",
        _repair,
        summary="repair a torchvision of this environment that cannot be imported",
        description=_REPAIR,
        exit_codes=_REPAIR_EXIT_CODES,
    )
    cache = add_command(
        commands,
        "cache",
        _show_cache,
        summary="print the size of the cache, or clear it",
        description=_CACHE,
    )
    cache.add_argument(
        "--clear", action="store_true", help="delete all parts of the cache, and nothing else in its folder"
    )


def _repair(_: argparse.Namespace) -> int:
    from vlm_parity.python_env.repair import repair_torchvision

    try:
        sentences = repair_torchvision()
    except RepairError as error:
        sys.stderr.write(f"{escape_terminal(str(error))}\n")
        return FAILED
    for sentence in sentences or ["nothing is broken"]:
        sys.stdout.write(f"{escape_terminal(sentence)}\n")
    return PASSED


def _show_cache(args: argparse.Namespace) -> int:
    from vlm_parity.util.cache_dir import CACHE_PARTS, get_cache_root
    from vlm_parity.util.environment_variables import CACHE_VARIABLE

    root = get_cache_root()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: the cache is a file; set {CACHE_VARIABLE} to a folder")
    parts = [root / part for part in CACHE_PARTS if (root / part).is_dir()]
    if args.clear:
        for part in parts:
            try:
                shutil.rmtree(part)
            except OSError as error:
                raise UsageError(f"{part}: cannot be deleted completely: {error}") from error
        parts = []
    for folder in parts:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sys.stdout.write(f"{size / 1e9:8.2f} GB  {escape_terminal(str(folder))}\n")
    sys.stdout.write(f"{escape_terminal(str(root))}{'' if parts else ' (empty)'}\n")
    return PASSED
