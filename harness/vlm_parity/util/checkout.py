"""Location of the clone that the package runs from."""

from __future__ import annotations

from pathlib import Path

SOURCE_ROOT = Path(__file__).parents[2]
"""The folder of the import package ``vlm_parity``: ``harness/`` in a clone."""

REPOSITORY_ROOT = SOURCE_ROOT.parent
"""The clone with ``cases/`` and ``tox.ini``, if the package runs from one or is an editable install."""
