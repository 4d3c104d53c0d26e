"""Results of verdicts and of runs: handmade, and drawn by Hypothesis with every field."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from vlm_parity.changes.comparison import Cause, Comparison, Identity, LocatedModule
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth, Dtype, EntryPoint
from vlm_parity.schema.trace import Environment, Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, StageResult, VerdictKind

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
"""NUL is stored in another form, and no record can hold a surrogate."""
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats())
CONDITIONS = st.none() | st.sampled_from(Condition)


def make_run(*shards: ShardSummary, name: str = "run") -> RunSummary:
    """Build the results of a run."""
    return RunSummary(name, "test", shards)


@st.composite
def results(draw: st.DrawFn, stage: Stage) -> StageResult:
    """Draw the result of a stage, sometimes with one on given values."""
    own = StageResult(
        stage=stage,
        status=draw(st.sampled_from(DiffStatus)),
        metrics=draw(st.dictionaries(st.sampled_from(["limit_ratio", "rms", "count"]), NUMBERS)),
        consequence=draw(st.booleans()),
        condition=draw(CONDITIONS),
    )
    if not draw(st.booleans()):
        return own
    given = StageResult(stage=stage, status=draw(st.sampled_from(DiffStatus)), metrics=own.metrics)
    return own.model_copy(update={"conditioned": given})


@st.composite
def environments(draw: st.DrawFn) -> Environment:
    """Draw an environment."""
    return Environment(
        python=draw(TEXTS),
        platform=draw(TEXTS),
        device=draw(TEXTS),
        dtype=draw(st.sampled_from(get_args(Dtype))),
        packages=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
        settings=draw(
            st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, max_size=2)
        ),
        workarounds=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    """Draw a comparison with any combination of values."""
    return Comparison(
        identity=Identity(
            model=draw(TEXTS),
            backend=draw(TEXTS),
            mode=draw(TEXTS),
            entry_point=draw(st.sampled_from(EntryPoint)),
            case=draw(TEXTS),
            dtype=draw(TEXTS),
            device=draw(TEXTS),
            depth=draw(st.sampled_from(Depth)),
            checkpoint=draw(TEXTS),
            case_digest=draw(TEXTS),
        ),
        kind=draw(st.sampled_from(VerdictKind)),
        reason=draw(TEXTS),
        first_divergence=draw(st.none() | st.sampled_from(Stage)),
        known=draw(TEXTS),
        reproduce=draw(TEXTS),
        stages=tuple(draw(results(stage)) for stage in Stage),
        reference_outcome=draw(st.sampled_from(Outcome)),
        reference_environment=draw(environments()),
        environment=draw(environments()),
        causes=tuple(
            Cause(stage=stage, name=draw(TEXTS), confidence=draw(st.floats(0, 1)))
            for stage in draw(st.lists(st.sampled_from(Stage), max_size=2))
        ),
        modules=tuple(
            LocatedModule(condition=condition, module=draw(TEXTS), point=draw(TEXTS), cause=draw(TEXTS))
            for condition in draw(st.lists(CONDITIONS, max_size=2, unique=True))
        ),
        has_max_size=draw(st.booleans()),
        largest_medium=draw(TEXTS),
        is_finding=draw(st.booleans()),
        seconds=draw(st.dictionaries(TEXTS, st.floats(0, 1e9), max_size=2)),
    )
