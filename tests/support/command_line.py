"""Runs of the ``parity`` command within this process."""

from __future__ import annotations

from vlm_parity.cli.main import main


def run_command(*words: str) -> int:
    """Return the exit code of a command line; ``argparse`` exits, other errors are returned."""
    try:
        return main(words)
    except SystemExit as caught:
        return int(caught.code or 0)
