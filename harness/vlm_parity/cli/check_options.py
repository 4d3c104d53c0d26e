"""The options of ``parity check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlm_parity.backends.base import DTYPES
from vlm_parity.schema.trace import Depth

EXIT_CODES = """\
exit codes:
  0  compared, and everything passes
  1  something differs (or the ledger tells of a difference that is gone)
  2  wrong use: there is no such backend, case or model
  3  nothing differs, but something could not be compared: a file of the checkpoint is missing, the hub is
     not in reach, an engine is not installed, raised or died, or the reference is not to be trusted
"""

_DESCRIPTION = """\
Checks a checkpoint before it is released: are the engines fed the same as transformers? At the depth
`tokens` that takes configuration, tokenizer and processor, no weights and no GPU.

  parity check ./my-checkpoint --backend vllm --backend lmdeploy
  parity check org/name@revision --depth logits --device cuda --dtype bfloat16

Each engine is run by this Python if it is installed here, else by the tox environment of its name in the
clone of vlm-parity. The same as `parity run --model MODEL --backend NAME --depth tokens`.
"""


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Declares what ``parity check`` takes."""
    parser.description, parser.epilog = _DESCRIPTION, EXIT_CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="folder, hub id org/name[@revision], name in the model list, or family (its tiny synthetic "
        "checkpoint)",
    )
    add(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="engine to check it in; repeatable (default: every one that can be had here)",
    )
    add(
        "--depth",
        choices=[str(depth) for depth in Depth],
        default=str(Depth.TOKENS),
        help="tokens: what the model is fed, no weights; logits: what it answers, too (default: %(default)s)",
    )
    add("--case", action="append", default=[], metavar="PATTERN", help="case by name or pattern; repeatable")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where engines run (default: %(default)s)")
    add("--dtype", choices=DTYPES, help="what the engines compute in")
    add(
        "--engine-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="told to the engines' constructors; repeatable",
    )
    add("--model-list", type=Path, metavar="FILE", help="list of models (default: models.toml of the cases)")
    add(
        "--suite",
        type=Path,
        metavar="DIR",
        help="folder of the tests and their cases (default: cases/ of the checkout)",
    )
    add("--run", type=Path, metavar="DIR", dest="run_folder", help="run folder (default: reports/<time>)")
