"""Command lines of pytest sessions."""

from __future__ import annotations

from vlm_parity.cli.run import build_run_parser
from vlm_parity.pytest_plugin.run_pytest import add_prefix

_, OPTIONS = build_run_parser()


def prefix_options(*words: str) -> list[str]:
    """Return the options of ``parity run`` as pytest names them: ``--case`` becomes ``--parity-case``."""
    return add_prefix(words, OPTIONS)
