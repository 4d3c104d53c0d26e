"""Links to the verdicts of the index that some filters select; ``templates/index.js`` reads them."""

from __future__ import annotations

from urllib.parse import urlencode

from vlm_parity.util.text import escape_invisible_lines


def format_filter_link(**values: str | None) -> str:
    """Return the fragment of a link, such as ``#model=qwen2_vl&kind=mismatch``.

    Args:
        values: filters by name of their column, with values as the page shows them; None and empty ones are
            left out.
    """
    shown = {name: escape_invisible_lines(value) for name, value in values.items() if value}
    return f"#{urlencode(shown)}"
