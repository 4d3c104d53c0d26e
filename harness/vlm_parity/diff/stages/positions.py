"""Comparison of the positions that the rotary embedding receives."""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.aligned_positions import AlignedPositions, align_positions, build_span_mask
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.schema.trace import DECODE_POSITIONS, Stage
from vlm_parity.schema.verdict import ALIGNED_POSITIONS, StageDiff

_AXES = ("time", "height", "width")
_LINES = 8


def diff_positions(pair: TracePair) -> StageDiff:
    """Compare the positions exactly, on every axis: inside and outside the spans, and while decoding."""
    if pair.reference_tensors is None or pair.tested_tensors is None:
        return build_not_compared(Stage.POSITIONS, "a side kept no arrays")
    cached = pair.tested.cached_tokens
    reference = _expand_axes(pair.reference_tensors.read("positions"))[:, cached:]
    tested = _expand_axes(pair.tested_tensors.read("positions"))
    if reference.shape != tested.shape:
        message = (
            f"positions of {reference.shape[1]} ids in the reference, "
            f"of {tested.shape[1]} in {pair.tested.backend}"
        )
        return build_mismatch(Stage.POSITIONS, message, {})
    differs = (reference != tested).any(axis=0)
    embedded = build_span_mask(pair.reference)[cached:]
    metrics: dict[str, float | int] = {
        "positions": len(differs),
        "different": int(differs.sum()),
        "different_in_spans": int((differs & embedded).sum()),
    }
    if cached:
        metrics["cached_tokens"] = cached
    if not differs.any():
        return _diff_decoding(pair, metrics)
    metrics["first_different"] = cached + int(differs.argmax())
    return build_mismatch(Stage.POSITIONS, _message(pair, metrics, reference, tested), metrics)


def diff_aligned_positions(pair: TracePair, reason: str) -> StageDiff:
    """Compare the positions of the ids that have a counterpart, up to the shift that the other ids explain.

    The stage is not compared if the ids do not explain a shift: only differences of positions were compared
    behind it.

    Args:
        pair: two traces whose ids differ.
        reason: why the positions without a counterpart are not compared.
    """
    aligned = read_aligned_positions(pair)
    if aligned is None:
        return build_not_compared(Stage.POSITIONS, reason)
    differs = (aligned.reference != aligned.tested).any(axis=0)
    count, tested_count = len(pair.reference.input_ids or ()), len(pair.tested.input_ids or ())
    metrics: dict[str, float | int] = {
        "positions": len(differs),
        "different": int(differs.sum()),
        "different_in_spans": int((differs & build_span_mask(pair.reference)[aligned.index]).sum()),
        ALIGNED_POSITIONS: len(differs),
        "reference_only": count - len(differs),
        "tested_only": tested_count - len(differs),
    }
    if aligned.unexplained:
        metrics["unexplained_shifts"] = len(aligned.unexplained)
    else:
        metrics["shift"] = aligned.shift[0, -1].item()
    if differs.any():
        metrics["first_different"] = int(aligned.index[differs.argmax()])
        return build_mismatch(Stage.POSITIONS, _format_aligned(pair, aligned, differs), metrics)
    compared = f"those of {len(differs)} of {count} ids agree with their counterparts'"
    if aligned.unexplained:
        places = ", ".join(map(str, aligned.unexplained))
        message = f"{reason}; {compared}, but their shift from index {places} on depends on media that differ"
        return build_not_compared(Stage.POSITIONS, message).model_copy(update={"metrics": metrics})
    message = f"the ids differ; {compared}, up to the shift by the ids that only one side has"
    return build_match(Stage.POSITIONS, metrics).model_copy(update={"message": message})


def read_aligned_positions(pair: TracePair) -> AlignedPositions | None:
    """Read the positions of both sides and align them by the ids; return None if nothing corresponds.

    Positions from a prefix cache are not shown, so there is no alignment with them.
    """
    left, right = pair.reference_tensors, pair.tested_tensors
    if left is None or right is None or pair.tested.cached_tokens:
        return None
    sides = [side.read(Stage.POSITIONS) for side in (left, right)]
    lengths = [len(trace.input_ids or ()) for trace in (pair.reference, pair.tested)]
    return align_positions(pair, *sides) if [side.shape[1] for side in sides] == lengths else None


def _diff_decoding(pair: TracePair, metrics: dict[str, float | int]) -> StageDiff:
    """Compare the positions of the decoding steps, if both sides show them; those of the prompt are equal."""
    left, right = pair.reference_tensors, pair.tested_tensors
    assert left is not None
    assert right is not None
    is_shown = DECODE_POSITIONS in left and DECODE_POSITIONS in right
    if not is_shown or pair.reference.continuation != pair.tested.continuation:
        return build_match(Stage.POSITIONS, metrics)
    reference, tested = (_expand_axes(side.read(DECODE_POSITIONS)) for side in (left, right))
    differs = (reference != tested).any(axis=0)
    metrics |= {"decode_positions": len(differs), "decode_different": int(differs.sum())}
    if not differs.any():
        return build_match(Stage.POSITIONS, metrics)
    step = int(differs.argmax())
    message = (
        f"positions of the prompt are equal, those of {differs.sum()} of {len(differs)} decoding steps "
        f"differ: at step {step} ({', '.join(map(str, reference[:, step]))}) in the reference, "
        f"({', '.join(map(str, tested[:, step]))}) in {pair.tested.backend}"
    )
    return build_mismatch(Stage.POSITIONS, message, metrics)


def count_equal_positions(pair: TracePair) -> int:
    """Count the positions in front of the first different one, or of the end of the shorter side.

    All of the reference's count as equal if the tested side does not show its positions.
    """
    left, right = pair.reference_tensors, pair.tested_tensors
    length = len(pair.reference.input_ids or ())
    if left is None or right is None or Stage.POSITIONS not in left or Stage.POSITIONS not in right:
        return length
    reference, tested = (_expand_axes(side.read("positions")) for side in (left, right))
    shared = min(reference.shape[1], tested.shape[1])
    differs = (reference[:, :shared] != tested[:, :shared]).any(axis=0)
    return int(differs.argmax()) if differs.any() else shared


def _expand_axes(positions: np.ndarray) -> np.ndarray:
    """Repeat text positions on every mrope axis."""
    return np.repeat(positions, len(_AXES), axis=0) if len(positions) == 1 else positions


def _message(
    pair: TracePair, metrics: dict[str, float | int], reference: np.ndarray, tested: np.ndarray
) -> str:
    first, cached = int(metrics["first_different"]), pair.tested.cached_tokens
    head = (
        f"positions differ at {metrics['different']} of {metrics['positions']} ids, "
        f"{metrics['different_in_spans']} of them inside the spans; first at index {first}\n"
    )
    ids = pair.reference.input_ids or ()
    rows = [
        (
            ">" if (reference[:, i] != tested[:, i]).any() else " ",
            str(cached + i),
            pair.run(ids[cached + i], 1) if cached + i < len(ids) else "-",
            ", ".join(map(str, reference[:, i])),
            ", ".join(map(str, tested[:, i])),
        )
        for i in range(max(0, first - cached - 2), min(first - cached + _LINES, reference.shape[1]))
    ]
    axes = ", ".join(_AXES)
    return head + format_table(("", "index", "token", f"reference ({axes})", pair.tested.backend), rows)


def _format_aligned(pair: TracePair, aligned: AlignedPositions, differs: np.ndarray) -> str:
    first = int(differs.argmax())
    head = (
        f"the ids differ, and so do positions of {differs.sum()} of {len(differs)} ids that both sides have, "
        f"beyond the shift by the others; first at index {aligned.index[first]}\n"
    )
    ids = pair.reference.input_ids or ()
    rows = [
        (
            ">" if differs[row] else " ",
            f"{aligned.index[row]}/{aligned.tested_index[row]}",
            pair.run(ids[aligned.index[row]], 1),
            *(
                ", ".join(map(str, side[:, row]))
                for side in (
                    aligned.reference,
                    aligned.reference + aligned.shift,
                    aligned.tested + aligned.shift,
                )
            ),
        )
        for row in range(max(0, first - 2), min(first + _LINES, len(differs)))
    ]
    header = ("", "index", "token", f"reference ({', '.join(_AXES)})", "shifted", pair.tested.backend)
    return head + format_table(header, rows)
