"""Keys under which the plug-in stores its objects in a pytest session."""

from __future__ import annotations

from typing import Any

import pytest

RUN_FOLDER = pytest.StashKey[Any]()
"""See ``vlm_parity.pytest_plugin.run_folder.get_run_folder``."""
STATE = pytest.StashKey[Any]()
"""Set by the first collected test that uses a fixture of the plug-in; see ``state.get_state``."""
FAILED_TESTS = pytest.StashKey[dict[str, Any]]()
"""Failed tests that use a fixture of the plug-in, by id; see ``vlm_parity.pytest_plugin.failed_tests``."""
CRASHED_TESTS = pytest.StashKey[Any]()
"""Ids of tests at which a pytest-xdist worker ended."""
FUZZ_SESSION = pytest.StashKey[Any]()
"""Set by the first fuzz test that runs."""
