"""Locations: the modules of the reference that an engine computes differently."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.record import Count, Record, Seconds, read_record
from vlm_parity.schema.trace import Stage

LOCATION_FILE = "location.json"
LOCATION_SCHEMA = 1


class ModuleDifference(Record):
    """One value that differs although the engine's own values, from which the reference computed it, are
    the same on both sides.
    """

    module: str
    """The module of the reference: ``model.visual.blocks.0.mlp.act``."""
    class_path: str
    """Module and name of its class."""
    point: str
    """``output``, ``attention output``, or the input that is computed inline before the module."""
    made_of: tuple[str, ...] = ()
    """For an input: the modules whose outputs enter it."""
    engine_module: str = ""
    """The engine's module with the nearest value; empty if none is near."""
    engine_class_path: str = ""
    distance: float
    """Root mean square of the difference, as a fraction of the reference's value."""
    noise: float
    """The same of the reference itself in the engine's dtype, on the same inputs."""
    limit_ratio: float
    """The distance as a fraction of its limit; more than 1 is a difference."""
    rows: tuple[tuple[Count, Count], ...] = ()
    """Ranges of rows that differ, each with its first and its last row; empty if all do."""
    pattern: str = ""
    """The form of the difference, if it has one: such as ``the same offset in every row``."""
    cause: str = ""
    """The kind of module or code that differs: ``activation differs``."""
    step: Count = 0
    """0 for the prompt, otherwise the number of the decoding step."""


class ComparedModule(Record):
    """A module of the reference with the worst of its values."""

    module: str
    class_path: str
    status: str
    """``agrees``, ``differs``, or ``not shown`` if the engine has no such value."""
    limit_ratio: float | None = None
    """None if the engine has no such value."""


class Location(Record):
    """The comparison of an engine's modules with those of the reference on one case."""

    schema_version: int = LOCATION_SCHEMA
    stages: tuple[Stage, ...] = ()
    """The stages whose differences were to be located."""
    condition: Condition | None = None
    """Values of the reference that the engine was given; None if it ran on its own."""
    problem: str = ""
    """The reason why nothing was compared; empty if it was."""
    differences: tuple[ModuleDifference, ...] = ()
    """In the order in which the reference computes them."""
    modules: tuple[ComparedModule, ...] = ()
    """Every module that computes something itself, in the same order."""
    is_coarse: bool = False
    """True if only whole blocks were compared, and what is outside of blocks."""
    values: Count = 0
    """Number of compared values."""
    agreeing: Count = 0
    largest_agreeing: float = 0.0
    """The largest ``limit_ratio`` of a value that agrees."""
    seconds: Seconds = 0.0


def read_location(folder: Path) -> Location:
    """Read the record.

    Raises:
        RecordError: the folder does not hold one.
    """
    return read_record(folder / LOCATION_FILE, Location)
