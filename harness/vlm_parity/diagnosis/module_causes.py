"""Causes of differences in modules, from the kind of module and the form of the difference."""

from __future__ import annotations

import re

from vlm_parity.schema.location import Location, ModuleDifference

ACTIVATION = "activation differs"
ATTENTION = "attention differs on equal queries, keys and values"
CACHED_ATTENTION = "attention over the cache differs on equal queries"
ROTARY = "rotary embedding or norm of queries and keys differs"
NORM = "norm differs"
NORM_EPSILON = "norm with another epsilon"
NORM_WEIGHTS = "norm with other weights"
BIAS = "another bias"
PROJECTION = "projection differs"
EMBEDDINGS = "input embeddings differ"
SCALED = "scaled values"
DEEP_FEATURES = "deep features differ or are dropped"
INLINE = "code between modules differs"
OTHER = "module differs"

_ACTIVATIONS = re.compile(r"GELU|SiLU|ReLU|Swish|Mish|Tanh|Sigmoid|Activation", re.IGNORECASE)
_PROJECTIONS = re.compile(r"Linear|Conv\d?d?$|Conv1D|Dense", re.IGNORECASE)
_DEEP = re.compile(r"deepstack", re.IGNORECASE)


def name_causes(location: Location) -> Location:
    """Return a location with the cause of each difference."""
    differences = tuple(
        difference.model_copy(update={"cause": name_cause(difference)}) for difference in location.differences
    )
    return location.model_copy(update={"differences": differences})


def name_cause(difference: ModuleDifference) -> str:
    """Return the kind of code that differs; no more than the module and the numbers show."""
    if difference.point == "attention output":
        return CACHED_ATTENTION if difference.step else ATTENTION
    if difference.point != "output":
        return _name_inline_cause(difference)
    name = difference.class_path.rpartition(".")[2]
    if _ACTIVATIONS.search(name):
        return ACTIVATION
    if "Norm" in name:
        causes = {"another factor in each row": NORM_EPSILON, "another factor in each column": NORM_WEIGHTS}
        return causes.get(difference.pattern, NORM)
    if _PROJECTIONS.search(name):
        return BIAS if difference.pattern == "the same offset in every row" else PROJECTION
    return SCALED if difference.pattern.startswith("scaled by") else OTHER


def _name_inline_cause(difference: ModuleDifference) -> str:
    if difference.point in {"attention query", "attention key"}:
        return ROTARY
    if any(map(_DEEP.search, difference.made_of)):
        return DEEP_FEATURES
    if difference.point == "input inputs_embeds":
        return EMBEDDINGS
    return SCALED if difference.pattern.startswith("scaled by") else INLINE
