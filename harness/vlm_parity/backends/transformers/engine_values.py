"""Search for the engine's counterpart of a value of the reference, by its numbers.

Names and shapes differ between implementations: projections are fused, layers nested otherwise, rows laid out
with or without a batch axis. Unrelated values are about as far from each other as each is large, so the
nearest value is the counterpart if it is near at all; a similar name decides only where none is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from vlm_parity.backends.transformers.module_names import MIN_SIMILARITY, compute_similarity
from vlm_parity.diff.module_differences import NEAR
from vlm_parity.schema.module_calls import ModuleCall

EQUAL = 0.01
"""No difference below it is worth a look at names."""
_SAMPLED = 256  # numbers of each value by which candidates are ranked
_CANDIDATES = 4
_MIN_COLUMNS = 8
_PROBES = 8  # rows by which a block is found


@dataclass(frozen=True)
class Place:
    """One use of a value in the engine."""

    module: str
    class_path: str
    side: str
    """``input`` or ``output``."""


@dataclass
class EngineValue:
    """A tensor of the engine, or the sum of two of one call: the residual stream that fused code hides."""

    rows: torch.Tensor
    """float64 [rows, columns]"""
    places: list[Place] = field(default_factory=list)

    def get_similarity(self, module: str) -> float:
        """Return the largest similarity of a name with those of the modules that use the value."""
        return max(compute_similarity(module, name) for name in {place.module for place in self.places})


@dataclass(frozen=True)
class Counterpart:
    """The engine's value for one of the reference."""

    value: torch.Tensor
    """float64, of the shape of the reference's."""
    distance: float
    """Root mean square of the difference, as a fraction of the reference's value."""
    place: Place
    identity: int = 0
    """The same for all parts of one value of the engine."""


_Candidate = tuple[EngineValue, torch.Tensor]
"""An engine's value, and the part of it that corresponds to the reference's: float64 [rows, columns]."""


class EngineValues:
    """All values of one step of an engine, by shape."""

    def __init__(self, calls: Sequence[ModuleCall], arrays: dict[str, torch.Tensor]) -> None:
        """Index the values.

        Args:
            calls: of the step.
            arrays: the recorded tensors by name.
        """
        self._values: dict[str, EngineValue] = {}
        for call in calls:
            place_in = Place(call.module, call.class_path, "input")
            place_out = Place(call.module, call.class_path, "output")
            for values, place in ((call.inputs, place_in), (call.outputs, place_out)):
                names = [value.array for value in values]
                for name in names:
                    self._add(name, arrays[name], place)
                self._add_sums(names, arrays, place)
        self._join_repeated(calls, arrays)
        self._by_count: dict[int, list[EngineValue]] = defaultdict(list)
        for value in self._values.values():
            self._by_count[value.rows.numel()].append(value)
        self._samples = {count: _sample(values) for count, values in self._by_count.items()}

    def _add(self, name: str, tensor: torch.Tensor, place: Place) -> None:
        value = self._values.get(name)
        if value is None:
            rows = tensor.double().reshape(-1, tensor.shape[-1])
            value = self._values[name] = EngineValue(rows)
        value.places.append(place)

    def _add_sums(self, names: Sequence[str], arrays: dict[str, torch.Tensor], place: Place) -> None:
        for index, name in enumerate(names):
            for other in names[index + 1 :]:
                if arrays[name].shape == arrays[other].shape:
                    total = arrays[name].double() + arrays[other].double()
                    self._add(f"{name}+{other}", total, place)

    def _join_repeated(self, calls: Sequence[ModuleCall], arrays: dict[str, torch.Tensor]) -> None:
        """Add the values of a module that was called once for each medium as one."""
        by_place: dict[tuple[Place, str], list[str]] = defaultdict(list)
        for call in calls:
            for side, values in (("input", call.inputs), ("output", call.outputs)):
                for value in values:
                    by_place[Place(call.module, call.class_path, side), value.path].append(value.array)
        for (place, _), names in by_place.items():
            tensors = [arrays[name] for name in names]
            if len(names) > 1 and len({tensor.shape[-1] for tensor in tensors}) == 1:
                joined = torch.cat([tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors])
                self._add("|".join(names), joined, place)

    def find(self, value: torch.Tensor, module: str, side: str) -> Counterpart | None:
        """Return the engine's counterpart of a value; None if there is none.

        Args:
            value: of the reference, floating point. A value of four axes is also looked up with the axes of
                heads and positions exchanged.
            module: name of its module.
            side: ``input`` or ``output``.
        """
        value = value.cpu()
        found = self._find(value, module, side)
        if value.ndim == 4:  # noqa: PLR2004
            turned = self._find(value.transpose(1, 2), module, side)
            if turned is not None and (found is None or turned.distance < found.distance):
                return replace(turned, value=turned.value.transpose(1, 2))
        return found

    def _find(self, value: torch.Tensor, module: str, side: str) -> Counterpart | None:
        rows = value.double().reshape(-1, value.shape[-1])
        sources = self._list_equal_sizes(rows, module), self._list_parts(rows)
        found = self._select(rows, module, side, *sources)
        if found is None:
            last = self._select(rows[-1:], module, side, self._list_last_rows(rows))
            if last is not None and last.distance < NEAR:
                found = replace(last, value=torch.cat([rows[:-1], last.value]))
        if found is None or not math.isfinite(found.distance):  # NaN has to go no further
            return None
        return replace(found, value=found.value.reshape(value.shape))

    @staticmethod
    def _select(
        rows: torch.Tensor, module: str, side: str, *sources: Iterable[_Candidate]
    ) -> Counterpart | None:
        """Return the counterpart among the candidates of several sources, the next of which is seldom needed.

        It is the nearest if it is ``EQUAL``, otherwise the nearest of those of the most similar name if that
        is near, otherwise the nearest if that is near, otherwise that of the name.
        """
        best: tuple[float, float, _Candidate] | None = None
        named: tuple[float, float, _Candidate] | None = None
        for source in sources:
            for candidate in source:
                distance = compute_distance(candidate[1], rows)
                similarity = candidate[0].get_similarity(module)
                if best is None or (distance, -similarity) < best[:2]:
                    best = (distance, -similarity, candidate)
                has_side = any(place.side == side for place in candidate[0].places)
                is_similar = has_side and similarity >= MIN_SIMILARITY
                if is_similar and (named is None or (-similarity, distance) < named[:2]):
                    named = (-similarity, distance, candidate)
            if best is not None and best[0] < EQUAL:
                break
        if best is not None and best[0] < EQUAL:
            distance, _, (value, own) = best
        elif named is not None and (named[1] < NEAR or best is None or best[0] >= NEAR):
            _, distance, (value, own) = named
        elif best is not None and best[0] < NEAR:
            distance, _, (value, own) = best
        else:
            return None
        return Counterpart(own, distance, _select_place(value, module, side), id(value))

    def _list_equal_sizes(self, rows: torch.Tensor, module: str) -> Iterator[_Candidate]:
        """Yield the nearest engine values of as many numbers, and those of a similar name."""
        same = self._by_count.get(rows.numel(), [])
        if len(same) > _CANDIDATES:
            samples, places = self._samples[rows.numel()]
            distances = (samples - rows.reshape(-1)[places]).square().sum(dim=1)
            nearest = set(distances.nan_to_num(math.inf).argsort()[:_CANDIDATES].tolist())
            same = [
                value
                for index, value in enumerate(same)
                if index in nearest or value.get_similarity(module) >= MIN_SIMILARITY
            ]
        for value in same:
            yield value, value.rows.reshape(rows.shape)

    def _list_parts(self, rows: torch.Tensor) -> Iterator[_Candidate]:
        """Yield the nearest block of columns or of rows of each larger engine value."""
        for value in self._values.values():
            part = _find_part(value.rows, rows) if value.rows.numel() > rows.numel() else None
            if part is not None:
                yield value, part

    def _list_last_rows(self, rows: torch.Tensor) -> Iterator[_Candidate]:
        """Yield engine values of one row: an engine may project the last row alone."""
        columns = rows.shape[1]
        for value in self._by_count.get(columns, []) if len(rows) > 1 and columns >= _MIN_COLUMNS else []:
            yield value, value.rows.reshape(1, columns)


def _sample(values: Sequence[EngineValue]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some numbers of values of one size, [values, numbers], and their places."""
    count = values[0].rows.numel()
    generator = torch.Generator().manual_seed(count)
    places = torch.randint(count, (min(count, _SAMPLED),), generator=generator)
    return torch.stack([value.rows.reshape(-1)[places] for value in values]), places


def _find_part(own: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
    """Return the block of columns or of rows of an engine's value that is nearest to a smaller value."""
    count, columns = rows.shape
    if columns < _MIN_COLUMNS:
        return None
    if columns % own.shape[1] == 0 and own.numel() % columns == 0:
        own = own.reshape(-1, columns)  # heads are an axis of their own
    if own.shape[0] == count and own.shape[1] > columns:
        start = _find_block(own.T, rows.T)
        return own[:, start : start + columns]
    if own.shape[1] == columns and own.shape[0] > count:
        start = _find_block(own, rows)
        return own[start : start + count]
    return None


def _find_block(own: torch.Tensor, rows: torch.Tensor) -> int:
    """Return the first row of the block that is nearest to ``rows`` at some of their rows."""
    shifts = len(own) - len(rows) + 1
    probes = torch.linspace(0, len(rows) - 1, min(len(rows), _PROBES)).long().tolist()
    total = torch.zeros(shifts, dtype=own.dtype)
    for probe in probes:
        total += (own[probe : probe + shifts] - rows[probe]).square().sum(dim=1)
    return int(total.argmin())


def _select_place(engine: EngineValue, module: str, side: str) -> Place:
    def rank(place: Place) -> tuple[bool, float]:
        return place.side == side, compute_similarity(module, place.module)

    return max(engine.places, key=rank)


def compute_distance(own: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the root mean square of a difference, as a fraction of the reference; infinite if it is NaN."""
    scale = float(reference.square().mean().sqrt())
    error = float((own - reference).square().mean().sqrt())
    if not math.isfinite(error):
        return math.inf
    return error / scale if scale else float(error > 0)
