"""Location of the source checkout."""

from __future__ import annotations

from pathlib import Path

REPOSITORY_ROOT = Path(__file__).parents[3]
"""The checkout that holds ``cases/`` and ``tox.ini``, if the package runs from one or is installed from one in
editable mode."""
