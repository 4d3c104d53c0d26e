"""``parity run``: compare engines with transformers, through pytest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlm_parity.cli.parsers import EXIT_CODES
from vlm_parity.cli.run_cluster import (
    CLUSTER_OPTIONS,
    add_cluster_options,
    check_cluster_options,
    remove_own_options,
)
from vlm_parity.util.errors import UsageError
from vlm_parity.util.option_paths import path_exists
from vlm_parity.util.suggestions import suggest_names

DEFAULT_PATH = "cases"
"""The folder of the tests in a clone."""

_DESCRIPTION = """\
Compare serving engines with transformers on every selected case, then write a report.

  parity run --backend vllm --model qwen2_vl --case two_images
  parity run --backend vllm --model ./my-checkpoint --depth tokens       no weights, no GPU
  parity run my_cases --backend lmdeploy -- -x -k input_ids              pytest's options after --
  parity run --cluster auto                                              engine loads at once, on Ray

The tests are pytest's: `parity run OPTIONS` is `pytest cases --parity-OPTIONS`. The run folder (--run) gets
index.html, report.json and a page for each verdict; reports/latest links to the newest run.
"""


def build_run_parser() -> tuple[argparse.ArgumentParser, frozenset[str]]:
    """Return the parser of ``parity run`` and the short names of the plug-in's options."""
    from vlm_parity.pytest_plugin.run_pytest import add_run_options

    parser = argparse.ArgumentParser(
        "parity run",
        description=_DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="parity run [PATH ...] [OPTIONS] [-- PYTEST_OPTIONS]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", nargs="*", default=[], metavar="PATH", help="tests to run, as for pytest (default: cases)"
    )
    names: set[str] = set()

    def add(name: str, **settings: Any) -> None:
        names.add(name)
        parser.add_argument(f"--{name}", **settings)

    add_run_options(add)
    add_cluster_options(parser)
    return parser, frozenset(names)


def run_comparison(words: Sequence[str]) -> int:
    """Run pytest with the options of ``parity run`` and return the exit code.

    Args:
        words: the command line after ``parity run``.
    """
    from vlm_parity.pytest_plugin.run_pytest import add_prefix, run_pytest

    split = words.index("--") if "--" in words else len(words)
    own_words, pytest_words = list(words[:split]), list(words[split + 1 :])
    parser, names = build_run_parser()
    args, unknown = parser.parse_known_intermixed_args(own_words)
    if unknown:
        question = suggest_names(
            unknown[0].partition("=")[0], (f"--{name}" for name in (*names, *CLUSTER_OPTIONS))
        )
        parser.error(
            f"no such option: {' '.join(unknown)}; {question}{question and ' '}`parity run --help` lists the "
            "options, and pytest's own options follow after --"
        )
    for path in args.paths:
        if not path or not path_exists("PATH", Path(path.partition("::")[0])):
            raise UsageError(f"PATH {path!r}: no such file or folder")
    if not args.paths and not Path(DEFAULT_PATH).is_dir():
        raise UsageError(
            f"no folder {DEFAULT_PATH}/ here: run in a clone of vlm-parity, which holds the cases, or name "
            "the folder of the tests: parity run PATH"
        )
    paths = [] if args.paths else [DEFAULT_PATH]
    if args.cluster is not None:
        from vlm_parity.cluster.command import run_on_cluster

        return run_on_cluster(args, [*paths, *remove_own_options(own_words)], pytest_words, names)
    check_cluster_options(args)
    return run_pytest([*paths, *add_prefix(own_words, names), *pytest_words])
