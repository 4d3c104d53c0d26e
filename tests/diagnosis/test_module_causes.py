"""Causes of differences in modules: no more than class, point and form show."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.diagnosis import module_causes as causes
from vlm_parity.schema.location import Location, ModuleDifference


def difference(**fields: Any) -> ModuleDifference:
    known = {"module": "m", "class_path": "torch.nn.modules.linear.Linear", "point": "output"}
    return ModuleDifference(**{**known, "distance": 0.1, "noise": 1e-7, "limit_ratio": 1e5, **fields})


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"class_path": "transformers.activations.QuickGELUActivation"}, causes.ACTIVATION),
        ({"class_path": "torch.nn.modules.activation.SiLU"}, causes.ACTIVATION),
        ({"class_path": "a.Qwen3RMSNorm"}, causes.NORM),
        ({"class_path": "a.RMSNorm", "pattern": "another factor in each row"}, causes.NORM_EPSILON),
        ({"class_path": "a.RMSNorm", "pattern": "another factor in each column"}, causes.NORM_WEIGHTS),
        ({}, causes.PROJECTION),
        ({"pattern": "the same offset in every row"}, causes.BIAS),
        ({"class_path": "a.Conv2d"}, causes.PROJECTION),
        ({"class_path": "a.Attention", "point": "attention output"}, causes.ATTENTION),
        ({"class_path": "a.Attention", "point": "attention output", "step": 2}, causes.CACHED_ATTENTION),
        ({"class_path": "a.Attention", "point": "attention query"}, causes.ROTARY),
        ({"class_path": "a.Attention", "point": "attention value"}, causes.INLINE),
        ({"class_path": "a.TextModel", "point": "input inputs_embeds"}, causes.EMBEDDINGS),
        (
            {"class_path": "a.Layer", "point": "input [0]", "made_of": ("x.deepstack_merger_list.0", "l.0")},
            causes.DEEP_FEATURES,
        ),
        ({"class_path": "a.Layer", "point": "input [0]", "pattern": "scaled by 2"}, causes.SCALED),
        ({"class_path": "a.Layer"}, causes.OTHER),
    ],
)
def test_the_cause_follows_from_the_kind_of_module(fields: dict[str, Any], cause: str) -> None:
    assert causes.name_cause(difference(**fields)) == cause


def test_all_differences_of_a_location_get_their_causes() -> None:
    location = causes.name_causes(Location(differences=(difference(), difference(point="attention key"))))
    assert [each.cause for each in location.differences] == [causes.PROJECTION, causes.ROTARY]
