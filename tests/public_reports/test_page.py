"""The page in the documentation is the one that the catalog gives."""

from __future__ import annotations

from vlm_parity.public_reports.catalog import load_public_reports
from vlm_parity.public_reports.page import render_page
from vlm_parity.util.checkout import REPOSITORY_ROOT


def test_the_page_is_in_sync() -> None:
    page = REPOSITORY_ROOT / "docs" / "results" / "public_reports.md"
    reports = load_public_reports(REPOSITORY_ROOT / "cases" / "reports")
    assert page.read_text(encoding="utf-8") == render_page(reports.values())
