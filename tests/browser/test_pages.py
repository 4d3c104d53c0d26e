"""Every kind of page in Chromium: navigation, the issue text, accessibility, widths, and hostile text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage

SCREENSHOTS = Path(
    os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / ".tox" / "browser" / "screenshots")
)
CASE = "cases/lmdeploy-qwen2_5_vl-lmdeploy-wrong_ids.html"
CRASH = "cases/vllm-qwen2_5_vl-vllm-panorama.html"
PAGES = {
    "index": "index.html",
    "groups": "index.html#kind=mismatch&group=cause",
    "matrix": "matrix.html",
    "drift": "drift.html",
    "model": "models/qwen2_5_vl.html",
    "backend": "backends/vllm.html",
    "case": CASE,
    "crash": CRASH,
    "runs": "../",
}
"""A page of each kind in the small run; the list of runs exists only on the server."""
WIDTHS = (390, 900, 1400)
STANDARD = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_no_violation(open_page: OpenPage, kind: str) -> None:
    # axe is a script that the policy of the pages forbids.
    page = open_page(PAGES[kind], name="small", served=kind == "runs", bypass_csp=True)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    for scheme, options in (("light", STANDARD), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        result = Axe().run(page, options=options)
        assert result.violations_count == 0, f"{scheme}: {result.generate_report()}"


@pytest.mark.parametrize("kind", PAGES)
def test_no_page_scrolls_sideways(open_page: OpenPage, kind: str) -> None:
    page = open_page(PAGES[kind], name="small", served=kind == "runs")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=SCREENSHOTS / f"{kind}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_stages_are_one_row_on_a_wide_screen(open_page: OpenPage) -> None:
    page = open_page(CASE)
    tops = page.locator(".stages li").evaluate_all(
        "items => items.map((item) => item.getBoundingClientRect().top)"
    )
    assert len(tops) == 10
    assert len(set(tops)) == 1


@pytest.mark.parametrize("served", [False, True], ids=["file", "served"])
def test_navigation_through_all_kinds_of_pages(open_page: OpenPage, served: bool) -> None:
    page = open_page(served=served)
    heading, breadcrumb = page.locator("h1"), page.get_by_role("navigation", name="Breadcrumb")
    page.get_by_role("link", name="qwen2_5_vl", exact=True).first.click()
    expect(heading).to_have_text("qwen2_5_vl")
    page.get_by_role("link", name="wrong_ids").first.click()
    expect(heading).to_have_text("wrong_ids")
    breadcrumb.get_by_role("link", name="lmdeploy").click()
    expect(heading).to_have_text("lmdeploy")
    breadcrumb.get_by_role("link", name="run run-1").click()
    page.get_by_role("link", name="matrix by modality").click()
    expect(heading).to_have_text("The matrix")
    breadcrumb.get_by_role("link", name="run run-1").click()
    page.get_by_role("link", name="Transformers against itself").first.click()
    expect(heading).to_have_text("Transformers against itself")
    breadcrumb.get_by_role("link", name="run run-1").click()
    expect(heading).to_contain_text("comparisons differ")


def test_a_count_on_the_page_of_a_model_leads_to_its_verdicts(open_page: OpenPage) -> None:
    page = open_page("models/qwen2_vl.html")
    page.locator(".tally a", has_text="mismatch").click()
    expect(page.locator("select[name=model]")).to_have_value("qwen2_vl")
    expect(page.locator("select[name=kind]")).to_have_value("mismatch")


def test_the_list_of_runs_leads_to_a_run(open_page: OpenPage) -> None:
    page = open_page("../", served=True)
    page.get_by_role("link", name="run-1").click()
    expect(page.locator("h1")).to_contain_text("comparisons differ")


@pytest.mark.parametrize("allowed", [True, False], ids=["clipboard", "selection"])
@pytest.mark.parametrize("served", [False, True], ids=["file", "served"])
def test_the_issue_text_is_copied_by_one_click(open_page: OpenPage, served: bool, allowed: bool) -> None:
    page = open_page(CASE, served=served)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not allowed:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('denied')); }")
    page.get_by_role("button", name="Copy issue text").click()
    expect(page.locator("#copy [role=status]")).to_have_text("Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == page.locator("#issue-text").text_content().strip()
    assert copied.startswith("# lmdeploy: mismatch at input_ids against transformers")


def test_all_pages_open(open_page: OpenPage, run: Path) -> None:
    """Ten of each folder: none raises, and none requests anything else."""
    page = open_page()
    for folder in ("cases", "models", "backends"):
        for path in sorted((run / folder).iterdir())[:10]:
            page.goto(path.as_uri())
            assert page.title()


def test_hostile_text_stays_text(open_page: OpenPage) -> None:
    page = open_page("index.html#kind=mismatch")
    assert "onerror" in page.locator("#rows").inner_text()
    assert page.locator("img").count() == 0
    assert page.title() != "1"


def test_a_printed_index_has_no_controls(open_page: OpenPage) -> None:
    page = open_page()
    page.emulate_media(media="print")
    for selector in ("#filters", "#keys", "#pager"):
        expect(page.locator(selector)).to_be_hidden()
