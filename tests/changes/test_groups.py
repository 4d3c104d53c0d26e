"""Groups of changes: by class, stage and cause, with the first comparisons named."""

from __future__ import annotations

from tests.support.verdicts import compare_verdicts, make_verdict
from vlm_parity.changes.classify import ChangeClass
from vlm_parity.changes.groups import NO_CAUSE, format_counts, format_list, group_changes
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict

NAMES = ("a", "b", "c", "d", "e")


def make_run(*causes: str | None) -> list[Verdict]:
    """Build a verdict for each cause; None stands for a match, an empty one for an unknown cause."""
    return [
        make_verdict(case=name)
        if cause is None
        else make_verdict({Stage.VISION: 50.0}, case=name, causes={Stage.VISION: cause} if cause else {})
        for name, cause in zip(NAMES, causes, strict=True)
    ]


def test_the_worst_class_and_the_largest_group_come_first() -> None:
    changes = compare_verdicts(
        make_run(None, None, None, "GELU", None), make_run("", "GELU", "GELU", None, None)
    )
    groups = group_changes(changes)
    assert [(group.kind, group.cause, len(group.changes)) for group in groups] == [
        (ChangeClass.NEW, "GELU", 2),
        (ChangeClass.NEW, NO_CAUSE, 1),
        (ChangeClass.FIXED, "GELU", 1),
        (ChangeClass.UNCHANGED, "", 1),
    ]
    assert [group.is_worse for group in groups] == [True, True, False, False]
    assert groups[1].text == f"vision ({NO_CAUSE}): a · qwen2_vl · vllm (differs at vision)"
    assert format_counts(changes) == "3 new difference, 1 fixed, 1 unchanged"


def test_a_long_list_is_cut_off() -> None:
    assert format_list(NAMES[:3]) == "a; b; c"
    assert format_list(NAMES) == "a; b; c; and 2 more"
