"""What one parametrized test is about: an engine load and a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from vlm_parity.models.model_list import ListedModel
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.models.resolve import get_model_name
from vlm_parity.schema.case import Case
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.session.plan import EngineLoad

FIXTURE = "parity_comparison"


@dataclass(frozen=True)
class Target:
    """What one parametrized test is about."""

    load: EngineLoad
    case: str


def supports(model: str, case: Case, model_list: Mapping[str, ListedModel]) -> bool:
    """Whether a model has all modalities of a case; a model that is no family by name, nor of one in the
    model list, is asked everything.
    """
    family = model_list[model].family if model in model_list else model
    return family not in FAMILIES or set(case.modalities) <= set(load_family(family).modalities)


def is_applicable(case: Case, mode: str, entry_point: EntryPoint) -> bool:
    """Return whether a setup can affect a case: another mode or a server needs outputs, and the encoder budget
    depends on neither.
    """
    if case.max_size_modality is not None:
        return mode == DEFAULT_MODE and entry_point is EntryPoint.CHAT
    return case.depth == "logits" or (mode == DEFAULT_MODE and not entry_point.loads_own_engine)


def make_param(target: Target, case: Case) -> Any:
    """The parameter of a test: its target, with an id and marks."""
    load = target.load
    names = [*(case.modalities or ("text",)), load.backend, *([load.model] if load.model in FAMILIES else [])]
    marks = [getattr(pytest.mark, f"parity_{name}") for name in names]
    return pytest.param(target, id=f"{get_model_name(load.model)}-{load.label}-{target.case}", marks=marks)


def get_target(item: pytest.Item) -> Target | None:
    """What a test is about; None where it is none of ours."""
    call = getattr(item, "callspec", None)
    target = call.params.get(FIXTURE) if call else None
    return target if isinstance(target, Target) else None
