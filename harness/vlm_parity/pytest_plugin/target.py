"""The parameter of a test: an engine load and a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.models.resolve import get_model_name
from vlm_parity.models.shapes.templates import split_spec
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.session.plan import EngineLoad


@dataclass(frozen=True)
class Target:
    """An engine load and a case: the parameter of one test."""

    load: EngineLoad
    case: str


def supports(model: str, case: Case, model_list: Mapping[str, ListedModel]) -> bool:
    """Return whether a model supports all modalities of a case.

    True for a model of unknown family: a folder or a hub id that is not in the model list.
    """
    family = model_list[model].family if model in model_list else split_spec(model)[0]
    return family not in FAMILIES or set(case.modalities) <= set(load_family(family).modalities)


def is_applicable(case: Case, mode: str, entry_point: EntryPoint) -> bool:
    """Return whether a mode and an entry point can affect the result of a case.

    Modes and servers only affect cases with outputs. The encoder budget depends on neither.
    """
    if case.max_size_modality is not None:
        return mode == DEFAULT_MODE and entry_point is EntryPoint.CHAT
    return case.depth == "logits" or (mode == DEFAULT_MODE and not entry_point.loads_own_engine)


def make_param(target: Target, case: Case) -> Any:
    """Return the parameter of a test: its target with an id and marks."""
    load = target.load
    names = [*(case.modalities or ("text",)), load.backend, *([load.model] if load.model in FAMILIES else [])]
    marks = [getattr(pytest.mark, f"parity_{name}") for name in names]
    return pytest.param(target, id=f"{get_model_name(load.model)}-{load.label}-{target.case}", marks=marks)


def get_target(item: pytest.Item) -> Target | None:
    """Return the target of a test; None for a test that does not use the fixture."""
    call = getattr(item, "callspec", None)
    parameters = call.params.values() if call else ()
    return next((value for value in parameters if isinstance(value, Target)), None)
