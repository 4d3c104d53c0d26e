"""Groups of verdicts by model and backend, their pages, and links to filtered verdicts."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.report.filter_links import format_filter_link
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import load_run
from vlm_parity.report.page_names import make_page_name
from vlm_parity.report.verdict_groups import BACKEND, MAX_ROWS, MODEL, list_verdict_groups
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.errors import UsageError

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


@pytest.mark.parametrize("kind", [MODEL, BACKEND])
def test_each_verdict_is_in_one_group(builder: RunBuilder, kind: str) -> None:
    run = load_run(builder.sample())
    groups = list_verdict_groups(run, kind)
    assert sorted(entry.page for group in groups for entry in group.entries) == sorted(
        entry.page for entry in run.verdicts
    )
    assert all(getattr(entry.verdict, kind) == group.name for group in groups for entry in group.entries)


def test_names_that_differ_in_their_signs_only_have_pages_of_their_own(
    builder: RunBuilder, records: ModuleType
) -> None:
    names = ("org/Model", "org?model", "org_model")
    builder.shard(*(records.verdict(model=name) for name in names))
    write_report(load_run(builder.folder))
    pages = sorted(page.name for page in (builder.folder / "models").iterdir())
    assert pages == ["org_Model.html", "org_model-2.html", "org_model-3.html"]


@given(st.lists(st.lists(st.text(), min_size=1, max_size=3), max_size=6))
def test_page_names_are_plain_and_used_once(names: list[list[str]]) -> None:
    taken: set[str] = set()
    found = [make_page_name(words, taken) for words in names]
    assert len({name.lower() for name in found}) == len(found)
    assert all(name.isascii() and "/" not in name and len(name) < 255 for name in found)


@given(
    st.dictionaries(
        st.sampled_from(["model", "cause"]), st.text(st.characters(exclude_categories=["C", "Z"]))
    )
)
def test_a_link_holds_the_values_and_nothing_else(values: dict[str, str]) -> None:
    link = format_filter_link(**values)
    assert link.startswith("#")
    assert {name: [value] for name, value in values.items() if value} == parse_qs(link[1:])


def test_an_index_of_many_differences_is_bounded(builder: RunBuilder, records: ModuleType) -> None:
    verdicts = [
        records.silent(VerdictKind.ERROR, f"error {n}", case=f"case_{n}") for n in range(MAX_ROWS + 5)
    ]
    builder.shard(*verdicts)
    index = write_report(load_run(builder.folder)).read_text()
    assert index.count('<th scope="row"><a class="case"') == MAX_ROWS
    assert f"{MAX_ROWS} of {MAX_ROWS + 5} verdicts without agreement" in index


@pytest.mark.parametrize("folder", ["cases", "models", "backends", "data"])
def test_pages_are_not_written_through_a_link(builder: RunBuilder, folder: str) -> None:
    run = load_run(builder.sample())
    (builder.folder.parent / "elsewhere").mkdir()
    (builder.folder / folder).symlink_to(builder.folder.parent / "elsewhere")
    with pytest.raises(UsageError, match=f"{folder}: a symbolic link"):
        write_report(run)
