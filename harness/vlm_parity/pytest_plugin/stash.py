"""Keys under which the plug-in stores its objects in a pytest session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vlm_parity.fuzz.session import FuzzSession
    from vlm_parity.pytest_plugin.run_folder import RunFolder
    from vlm_parity.pytest_plugin.state import PluginState

RUN_FOLDER: pytest.StashKey[RunFolder] = pytest.StashKey()
STATE: pytest.StashKey[PluginState] = pytest.StashKey()
"""Set by the first collected test that uses a fixture of the plug-in."""
FUZZ_SESSION: pytest.StashKey[FuzzSession] = pytest.StashKey()
