"""Exit codes of every command."""

from __future__ import annotations

PASSED = 0
"""Everything was compared and passes."""
FAILED = 1
"""Something was compared and does not pass."""
USAGE = 2
"""An option or argument is wrong; nothing was run."""
NOT_COMPARED = 3
"""Something could not be compared."""

SESSION_FINISHED = frozenset({PASSED, FAILED})
"""Exit codes of a pytest session that ran to its end."""
