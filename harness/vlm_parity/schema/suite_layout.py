"""Names of the files in a suite: a folder of test modules and their cases."""

from __future__ import annotations

CONVERSATIONS = "conversations"
"""Folder of the case files."""
REGRESSIONS = "regressions"
"""Folder of cases that the fuzzer found; see ``parity promote``."""
REPLAYS = "replays"
"""Folder of past bugs."""
KNOWN_ISSUES_FILE = "known_issues.toml"
MODEL_LIST_FILE = "models.toml"
