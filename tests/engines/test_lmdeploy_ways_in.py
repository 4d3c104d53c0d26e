"""The ways into LMDeploy, with its real front end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.support.requests import VIDEO_PART, OTHER_IMAGE_PART, IMAGE_PART, TEXT_PART, make_request
from vlm_parity.schema.engine_setup import EntryPoint

pytest.importorskip("lmdeploy")

from vlm_parity.backends.base import Settings
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.trace import Depth
from vlm_parity.util.errors import UnsupportedError

WORDS = make_request(TEXT_PART)
PICTURES = make_request(IMAGE_PART, {"text": "and"}, OTHER_IMAGE_PART, TEXT_PART)


def loaded(family: str) -> Iterator[LmdeployBackend]:
    backend = LmdeployBackend(Settings(depth=Depth.TOKENS))
    backend.load(build_checkpoint(family))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def older() -> Iterator[LmdeployBackend]:
    """Its image processor takes messages."""
    yield from loaded("qwen2_vl")


@pytest.fixture(scope="module")
def newer() -> Iterator[LmdeployBackend]:
    """Its image processor takes a prompt."""
    yield from loaded("qwen3_vl")


@pytest.mark.parametrize("entry_point", (EntryPoint.TEXT, EntryPoint.TOKEN_IDS))
def test_words_are_the_same_by_every_way_in(newer: LmdeployBackend, entry_point: str) -> None:
    assert newer.inputs(replace(WORDS, entry_point=entry_point)).input_ids == newer.inputs(WORDS).input_ids


@pytest.mark.parametrize(
    ("kind", "entry_point"), [("older", EntryPoint.TOKEN_IDS), ("newer", EntryPoint.TEXT)]
)
def test_pictures_are_the_same_by_another_way_in(
    request: pytest.FixtureRequest, kind: str, entry_point: str
) -> None:
    frontend: LmdeployBackend = request.getfixturevalue(kind)
    chat, other = frontend.inputs(PICTURES), frontend.inputs(replace(PICTURES, entry_point=entry_point))
    assert (other.input_ids, other.spans) == (chat.input_ids, chat.spans)
    assert other.prompt == (None if entry_point == EntryPoint.TOKEN_IDS else chat.prompt)
    for theirs, ours in zip(other.media or (), chat.media or (), strict=True):
        np.testing.assert_array_equal(theirs.arrays["pixel_values"], ours.arrays["pixel_values"])


def test_a_text_with_the_models_own_placeholders_is_not_for_the_older(older: LmdeployBackend) -> None:
    with pytest.raises(UnsupportedError, match="write the placeholders themselves"):
        older.inputs(replace(PICTURES, entry_point=EntryPoint.TEXT))


@pytest.mark.parametrize("entry_point", (EntryPoint.TEXT, EntryPoint.TOKEN_IDS))
def test_what_has_no_public_form_is_not_served(newer: LmdeployBackend, entry_point: str) -> None:
    with pytest.raises(UnsupportedError, match=r"for video$"):
        newer.inputs(replace(make_request(VIDEO_PART, TEXT_PART), entry_point=entry_point))
