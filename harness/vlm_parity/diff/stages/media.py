"""Comparison of the inputs of the vision and audio towers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlm_parity.diff.array_distance import ArrayDiff, compare_arrays, round_to_dtype
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.diff.pixel_tolerance import BOUND_SOURCE, compute_device_bound
from vlm_parity.schema.trace import MediaInput, Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import StageDiff


@dataclass(frozen=True)
class MediumSide:
    """One medium of one side."""

    medium: MediaInput
    tensors: ArrayFile

    def array(self, name: str) -> np.ndarray:
        """Read one of the medium's arrays."""
        return self.tensors.read(self.medium.tensor_name(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one of the medium's arrays."""
        return self.tensors.shape(self.medium.tensor_name(name))

    def __str__(self) -> str:
        """Format the fields and the shapes of the arrays."""
        numbers = [f"{name} {_numbers(value)}" for name, value in sorted(self.medium.fields.items())]
        return ", ".join(numbers + [f"{name} {_numbers(self.shape(name))}" for name in self.medium.arrays])


@dataclass(frozen=True)
class MediumPair:
    """One medium on both sides."""

    name: str
    reference: MediumSide | None
    tested: MediumSide | None
    diffs: list[ArrayDiff] = field(default_factory=list)
    """The comparisons of the arrays with equal shapes, in their order."""
    bound: float = 0.0
    """The largest bound of a value."""
    comparable: bool = False
    """True if both sides have the medium, with the same fields, arrays and shapes."""

    @property
    def differs(self) -> bool:
        """True if the medium is missing on a side, or differs."""
        return not self.comparable or any(diff.over_bound for diff in self.diffs)

    @property
    def line(self) -> tuple[str, ...]:
        """A row of the table in a message."""
        over, values = (sum(getattr(diff, name) for diff in self.diffs) for name in ("over_bound", "values"))
        first = next((str(diff.first) for diff in self.diffs if diff.first is not None), "")
        largest = max((diff.max_abs for diff in self.diffs), default=0.0)
        return (
            ">" if self.differs else " ",
            self.name,
            str(self.reference or "-"),
            "the same" if self.comparable else str(self.tested or "-"),
            f"{over} of {values}" if self.diffs else "-",
            f"{largest:.3g}" if self.diffs else "-",
            first,
        )


def diff_media(pair: TracePair) -> StageDiff:
    """Compare the media one by one.

    Fields, shapes and values are compared exactly, except for the values of an engine that normalizes by
    itself (``vlm_parity.diff.pixel_tolerance``).
    """
    items = list(pair_media(pair))
    order = find_media_order(items)
    diffs = [diff for item in items for diff in item.diffs]
    different = sum(item.differs for item in items)
    metrics: dict[str, float | int] = {
        "items": len(items),
        "items_different": different,
        "values": sum(diff.values for diff in diffs),
        "different": sum(diff.different for diff in diffs),
        "over_bound": sum(diff.over_bound for diff in diffs),
        "max_abs": max((diff.max_abs for diff in diffs), default=0.0),
        "bound": max((item.bound for item in items), default=0.0),
        "reference_not_finite": sum(diff.not_finite for diff in diffs),
    }
    if order:
        metrics["items_reordered"] = len(order)
    if not different:
        return build_match(Stage.MEDIA, metrics).model_copy(
            update={"message": "\n".join(_notes(pair, items))}
        )
    return build_mismatch(Stage.MEDIA, _message(pair, items, different, order), metrics)


def pair_media(pair: TracePair) -> Iterator[MediumPair]:
    """Pair the media, in the order of the reference, then those that only the tested side has."""
    reference = _index_by_name(pair.reference.media, pair.reference_tensors)
    tested = _index_by_name(pair.tested.media, pair.tested_tensors)
    for name in {**reference, **tested}:
        yield _compare_medium(name, reference.get(name), tested.get(name))


def find_media_order(items: Sequence[MediumPair]) -> dict[str, str]:
    """Find the media of the reference that the tested side has in another order.

    Returns:
        The name in the reference of each tested medium that differs; empty unless all of these are media of
        the reference, each of them once.
    """
    differing = [item for item in items if item.differs]
    order: dict[str, str] = {}
    for item in differing:
        left = (other for other in differing if other is not item and other.name not in order.values())
        found = next((other for other in left if _holds_medium(item, other)), None)
        if found is None:
            return {}
        order[item.name] = found.name
    return order


def _holds_medium(item: MediumPair, other: MediumPair) -> bool:
    """Return whether the tested side of a medium is equal to another medium of the reference."""
    if item.tested is None or other.reference is None:
        return False
    is_same_modality = item.tested.medium.modality == other.reference.medium.modality
    return is_same_modality and not _compare_medium(other.name, other.reference, item.tested).differs


def _index_by_name(media: tuple[MediaInput, ...] | None, tensors: ArrayFile | None) -> dict[str, MediumSide]:
    if tensors is None:
        return {}
    return {f"{medium.modality} {medium.item}": MediumSide(medium, tensors) for medium in media or ()}


def _compare_medium(name: str, reference: MediumSide | None, tested: MediumSide | None) -> MediumPair:
    if reference is None or tested is None:
        return MediumPair(name, reference, tested)
    diffs, bounds = [], [0.0]
    for array in reference.medium.arrays:
        if array in tested.medium.arrays and reference.shape(array) == tested.shape(array):
            diff, bound = _compare_values(reference, tested, array)
            diffs.append(diff)
            bounds.append(bound)
    comparable = (
        reference.medium.fields == tested.medium.fields
        and set(reference.medium.arrays) == set(tested.medium.arrays)
        and len(diffs) == len(reference.medium.arrays)
    )
    return MediumPair(name, reference, tested, diffs, max(bounds), comparable)


def _compare_values(reference: MediumSide, tested: MediumSide, name: str) -> tuple[ArrayDiff, float]:
    """Compare one array; return the diff and the largest bound of a value."""
    biases = [
        side.medium.device_norm_bias
        for side in (reference, tested)
        if side.medium.device_norm_bias is not None
    ]
    left, right = reference.array(name), tested.array(name)
    if biases and left.size:
        bound = compute_device_bound(left, max(biases))
        return compare_arrays(left, right, bound), float(bound.max())
    dtypes = (reference.medium.dtype, tested.medium.dtype)
    for dtype in dtypes:
        left, right = round_to_dtype(left, dtype), round_to_dtype(right, dtype)
    return compare_arrays(left, right, 0.0), 0.0


def _message(pair: TracePair, items: list[MediumPair], different: int, order: dict[str, str]) -> str:
    header = ("", "medium", "reference", pair.tested.backend, "values over", "largest", "patch")
    lines = [
        f"media differ: {different} of {len(items)}{format_media_order(order)}",
        format_table(header, [item.line for item in items]),
    ]
    return "\n".join([*lines, *_notes(pair, items)])


def format_media_order(order: Mapping[str, str]) -> str:
    """Format an order of media to follow a count; empty if there is none."""
    pairs = ", ".join(f"{tested} is {reference} of the reference" for tested, reference in order.items())
    return f"; the same media in another order: {pairs}" if order else ""


def _notes(pair: TracePair, items: list[MediumPair]) -> list[str]:
    """Format remarks: the points of capture, the sampled frames of files, and a bound other than 0."""
    notes = {
        f"{trace.backend}: {note}": None
        for trace in (pair.reference, pair.tested)
        for medium in trace.media or ()
        for note in (medium.note, _format_frame_sampling(medium))
        if note
    }
    return [*notes, *([f"bound: {BOUND_SOURCE}"] if any(item.bound for item in items) else [])]


def _format_frame_sampling(medium: MediaInput) -> str:
    """Format the sampled frames of a video file and their timestamps."""
    sampling = medium.frame_sampling
    if sampling is None:
        return ""
    timestamps = ", ".join(f"{second:.3g}" for second in sampling.timestamps)
    return (
        f"{medium.modality} {medium.item}, decoded by {sampling.decoder}: {sampling.description}, "
        f"{sampling.fps:g} per second, starting at {timestamps} s"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return "x".join(f"{value:g}" if value == round(value) else repr(value) for value in values)
