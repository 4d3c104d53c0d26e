"""Modules of a model on a case page: those that differ, and the path of all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vlm_parity.report.markdown import format_table
from vlm_parity.schema.location import ComparedModule, Location, ModuleDifference
from vlm_parity.util.text import escape_markdown

_MAX_ROWS = 4


@dataclass(frozen=True)
class ModuleGroup:
    """Consecutive modules with the same status."""

    status: str
    modules: tuple[ComparedModule, ...]

    @property
    def summary(self) -> str:
        """The number of modules with the first and the last name, or the only name."""
        first, last = self.modules[0].module, self.modules[-1].module
        if len(self.modules) == 1:
            return first
        return f"{len(self.modules)} modules, {first} to {last}"


def group_modules(modules: Sequence[ComparedModule]) -> list[ModuleGroup]:
    """Group consecutive modules of one status, so that those that differ stand out."""
    groups = groupby(modules, key=lambda module: module.status)
    return [ModuleGroup(status, tuple(group)) for status, group in groups]


def get_class_name(class_path: str) -> str:
    """Return the name of a class without its module."""
    return class_path.rpartition(".")[2]


def get_file(class_path: str) -> str:
    """Return the file of a class, as imported: ``transformers/models/qwen2_vl/modeling_qwen2_vl.py``."""
    module = class_path.rpartition(".")[0]
    return f"{module.replace('.', '/')}.py" if module else ""


def describe_step(difference: ModuleDifference) -> str:
    """Return the step in which a module differs first."""
    return f"decoding step {difference.step}" if difference.step else "prompt"


def describe_rows(difference: ModuleDifference) -> str:
    """Return the rows that differ."""
    if not difference.rows:
        return "all rows"
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in difference.rows]
    more = len(shown) - _MAX_ROWS
    return f"rows {', '.join(shown[:_MAX_ROWS])}" + (f" and {more} more ranges" if more > 0 else "")


def describe_place(difference: ModuleDifference) -> str:
    """Return the point of a module that differs, in words."""
    if difference.point == "output":
        return "its output"
    if difference.point.startswith("attention "):
        return f"its {difference.point}"
    made_of = f", made from {' and '.join(difference.made_of)}" if difference.made_of else ""
    return f"computed inline before it{made_of}"


def summarize_location(location: Location, backend: str) -> str:
    """Return a location as one sentence."""
    if location.problem:
        return f"The modules were not compared: {location.problem}."
    stages = ", ".join(location.stages)
    if not location.differences:
        return (
            f"No module differs: {location.agreeing} of {location.values} values agree, so the difference at "
            f"{stages} arises in code that calls no module, such as the handling of logits."
        )
    first = location.differences[0]
    engine = f", {get_class_name(first.engine_class_path)} in {backend}" if first.engine_class_path else ""
    unit = "block" if location.is_coarse else "module"
    hint = " Its modules exceed the limit: locate again with --within." if location.is_coarse else ""
    return (
        f"First differing {unit}: {first.module}, {describe_place(first)}: "
        f"{get_class_name(first.class_path)} in transformers{engine}.{hint}"
    )


def group_by_cause(location: Location) -> list[tuple[str, tuple[ModuleDifference, ...]]]:
    """Return the differences by their causes, in the order in which each cause appears first."""
    causes = dict.fromkeys(each.cause for each in location.differences)
    return [(cause, tuple(each for each in location.differences if each.cause == cause)) for cause in causes]


def render_markdown(location: Location, backend: str) -> Iterator[str]:
    """Yield the lines of a location for an issue."""
    yield f"**Modules** {escape_markdown(summarize_location(location, backend))}"
    if not location.differences:
        return
    yield ""
    header = ("module", "point", "transformers", backend, "distance", "reference's own noise", "rows")
    yield format_table(
        header,
        [
            (
                each.module,
                describe_place(each),
                each.class_path,
                f"{each.engine_module} {each.engine_class_path}".strip(),
                f"{each.distance:.2g}",
                f"{each.noise:.2g}",
                describe_rows(each),
            )
            for each in location.differences
        ],
    )
