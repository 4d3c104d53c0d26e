"""The index in Chromium: filters, search, order, groups, links, the back button and the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.support.browser import HOSTILE
from vlm_parity.report.causes import get_cause_label
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.verdict import Verdict

PAGE_ROWS = 100
FILTERS = {
    "model": "gemma3",
    "backend": "lmdeploy",
    "mode": "batched",
    "entry_point": "server",
    "kind": "mismatch",
    "stage": "vision",
    "cause": HOSTILE,
    "change": "new difference",
}
"""A value of each filter."""


@pytest.fixture(scope="module")
def loaded(run: Path) -> LoadedRun:
    return load_run(run)


def read_value(verdict: Verdict, name: str) -> str:
    """Return the value of a verdict that a filter compares."""
    if name == "cause":
        return get_cause_label(verdict)
    if name == "change":
        is_new = bool(verdict.differences) and verdict.model in {"gemma3", "internvl", "qwen2_vl"}
        return "new difference" if is_new else ""
    return str(getattr(verdict, {"stage": "first_divergence"}.get(name, name)) or "")


def count_verdicts(run: LoadedRun, **filters: str) -> int:
    return sum(
        all(read_value(entry.verdict, name) == value for name, value in filters.items())
        for entry in run.verdicts
    )


def expect_count(page: Page, count: int, total: int = 207) -> None:
    expect(page.locator("output[name=shown]")).to_have_text(f"{count} of {total}")
    expect(page.locator("#rows a.case")).to_have_count(min(count, PAGE_ROWS))


def read_column(page: Page, selector: str) -> list[str]:
    texts: list[str] = page.locator(f"#rows tbody {selector}").all_inner_texts()
    return texts


def test_all_verdicts_are_there_in_pages(index: Page) -> None:
    expect_count(index, 207)
    expect(index.locator("#excerpt")).to_be_hidden()
    first = read_column(index, "a.case")
    index.get_by_role("link", name="next").click()
    expect(index.locator("#pager span")).to_have_text("page 2 of 3")
    assert read_column(index, "a.case") != first
    index.get_by_role("link", name="next").click()
    expect(index.locator("#rows a.case")).to_have_count(7)
    expect(index.get_by_role("link", name="next")).to_be_hidden()


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_alone(open_page: OpenPage, loaded: LoadedRun, name: str) -> None:
    page = open_page()
    page.locator(f"select[name={name}]").select_option(FILTERS[name])
    count = count_verdicts(loaded, **{name: FILTERS[name]})
    assert count > 0
    expect_count(page, count)


def test_filters_and_search_together(index: Page, loaded: LoadedRun) -> None:
    filters = {"model": "gemma3", "backend": "vllm", "kind": "mismatch"}
    for name, value in filters.items():
        index.locator(f"select[name={name}]").select_option(value)
    expect_count(index, count_verdicts(loaded, **filters))
    index.get_by_role("searchbox").fill("TWICE frames")
    expect_count(index, count_verdicts(loaded, **filters, cause="frames sampled twice"))
    assert set(read_column(index, ".cause")) == {"frames sampled twice"}


def test_a_search_without_a_result_says_so(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("searchbox").fill("no such text")
    expect_count(page, 0)


def test_sort_by_margin_and_back(open_page: OpenPage) -> None:
    page = open_page()
    worst_first = read_column(page, "a.case")
    heading = page.locator("th[data-sort=limit_ratio]")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    ratios = [float(text) for text in read_column(page, ".limit") if text]
    assert ratios == sorted(ratios, reverse=True)
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    ratios = [float(text) for text in read_column(page, ".limit") if text]
    assert ratios == sorted(ratios)
    heading.get_by_role("button").click()
    assert read_column(page, "a.case") == worst_first


@pytest.mark.parametrize(
    "name", ["kind", "case", "model", "label", "change", "stage", "kl", "greedy", "cause"]
)
def test_every_column_sorts(open_page: OpenPage, name: str) -> None:
    page = open_page("index.html#kind=mismatch")
    heading = page.locator(f"th[data-sort={name}]")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending" if name == "kl" else "ascending")


def test_groups_by_cause(open_page: OpenPage, loaded: LoadedRun) -> None:
    page = open_page("index.html#kind=mismatch")
    page.get_by_label("group by cause").check()
    groups = page.locator("#rows .group").all_inner_texts()
    sizes = [int(text.split()[-1]) for text in groups]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == count_verdicts(loaded, kind="mismatch")
    assert any(text.startswith(HOSTILE) for text in groups)


def test_a_link_reproduces_the_state(index: Page, open_page: OpenPage) -> None:
    index.locator("select[name=backend]").select_option("vllm")
    index.locator("select[name=cause]").select_option(HOSTILE)
    index.get_by_role("searchbox").fill("case")
    index.get_by_label("group by cause").check()
    index.locator("th[data-sort=case] button").click()
    shared = open_page(f"index.html#{index.url.partition('#')[2]}")
    for locator in ("output[name=shown]", "#rows"):
        assert shared.locator(locator).inner_text() == index.locator(locator).inner_text()
    expect(shared.locator("select[name=cause]")).to_have_value(HOSTILE)
    expect(shared.get_by_role("searchbox")).to_have_value("case")
    expect(shared.get_by_label("group by cause")).to_be_checked()


def test_a_link_with_values_that_the_run_lacks_selects_nothing(open_page: OpenPage) -> None:
    page = open_page("index.html#model=nope&unknown=1&page=999&sort=-nope&__proto__=x")
    expect_count(page, 0)
    expect(page.locator("select[name=model]")).to_have_value("nope")


def test_the_back_button_undoes_filters_and_pages(index: Page, loaded: LoadedRun) -> None:
    index.locator("select[name=backend]").select_option("vllm")
    index.locator("select[name=kind]").select_option("mismatch")
    index.go_back()
    expect_count(index, count_verdicts(loaded, backend="vllm"))
    expect(index.locator("select[name=kind]")).to_have_value("")
    index.go_back()
    expect_count(index, 207)
    index.go_forward()
    expect_count(index, count_verdicts(loaded, backend="vllm"))


def test_clear_removes_every_filter(open_page: OpenPage) -> None:
    page = open_page("index.html#kind=mismatch&q=case&group=cause&sort=-kl")
    page.get_by_role("button", name="clear").click()
    expect_count(page, 207)
    expect(page.get_by_role("searchbox")).to_have_value("")
    assert "=" not in page.url


def test_cells_and_causes_are_links_to_their_verdicts(index: Page, loaded: LoadedRun) -> None:
    index.locator(".matrix a", has_text="mismatch").first.click()
    shown = int(index.locator("output[name=shown]").inner_text().split()[0])
    assert 0 < shown < count_verdicts(loaded, kind="mismatch")
    index.locator(".causes a", has_text=HOSTILE).first.click()
    expect(index.locator("select[name=cause]")).to_have_value(HOSTILE)


def test_the_keyboard_reaches_everything(index: Page) -> None:
    index.keyboard.press("/")
    search = index.get_by_role("searchbox")
    expect(search).to_be_focused()
    index.keyboard.type("case_3")
    index.keyboard.press("ArrowDown")
    cases = index.locator("#rows a.case")
    expect(cases.nth(0)).to_be_focused()
    index.keyboard.press("ArrowDown")
    expect(cases.nth(1)).to_be_focused()
    index.keyboard.press("ArrowUp")
    index.keyboard.press("Escape")
    expect_count(index, 207)
    cases.nth(0).focus()
    index.keyboard.press("Enter")
    expect(index.locator("h1")).to_have_text("panorama")


def test_the_shortcut_can_be_switched_off(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#keys input").uncheck()
    page.locator("#rows a.case").first.focus()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).not_to_be_focused()


def test_without_javascript_the_summary_and_the_worst_verdicts_are_there(open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#excerpt")).to_be_visible()
    expect(page.locator("#rows a.case").first).to_have_text("panorama")
    page.locator(".matrix a", has_text="gemma3").click()
    expect(page.locator("h1")).to_have_text("gemma3")
    assert page.locator(".rows a.case").count() > 0


def test_a_lost_table_leaves_the_rows_of_the_page(open_page: OpenPage) -> None:
    page = open_page(served=True)
    page.route("**/verdicts.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.reload()
    expect(page.locator("#filters")).to_be_hidden()
    assert page.locator("#rows a.case").count() > 0
