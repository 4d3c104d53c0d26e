"""What is said of media that differ: each cause alone, with the numbers of the case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.traces import make_pair, make_trace
from vlm_parity.diagnosis.registry import RuleInput, explain_diff, load_rules
from vlm_parity.diff.array_distance import round_to_dtype
from vlm_parity.diff.stages.media import diff_media
from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.schema.case import Modality
from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import MediaInput, Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import Diagnosis, DiffStatus

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
SIDE, INNER, MERGED = 14, 2, 2
"""Pixels along a patch, frames in a patch, patches that lie together along a side."""


class InMemory:
    """Arrays behind the interface of a safetensors file."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.get_tensor = arrays.__getitem__
        self.keys = arrays.keys

    def get_slice(self, name: str) -> Any:
        array = self.get_tensor(name)
        return type("Slice", (), {"get_shape": lambda _: list(array.shape)})()


@dataclass(frozen=True)
class Given:
    """A medium as a model is given it."""

    values: np.ndarray
    """Normalised, as the tower takes them."""
    grid: tuple[float, ...] = ()
    modality: Modality = "image"
    seconds: float | None = None
    dtype: str = "float32"
    array: str = "pixel_values"

    def medium(self, item: int) -> MediaInput:
        fields = {"grid": self.grid} if self.grid else {}
        if self.seconds is not None:
            fields["second_per_grid"] = (self.seconds,)
        return MediaInput(
            modality=self.modality, item=item, fields=fields, arrays=(self.array,), dtype=self.dtype
        )


def normalised(levels: np.ndarray) -> np.ndarray:
    """Grey levels [..., 3, height, width] as a processor normalises them."""
    return ((levels / 255 - MEAN) / STD).astype(np.float32)


def patches(pictures: np.ndarray) -> np.ndarray:
    """[frames, 3, height, width] as Qwen's processors order their patches."""
    count, _, height, width = pictures.shape
    rows, columns = height // SIDE // MERGED, width // SIDE // MERGED
    split = pictures.reshape(count // INNER, INNER, 3, rows, MERGED, SIDE, columns, MERGED, SIDE)
    return split.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, 3 * INNER * SIDE**2)


def patched(levels: np.ndarray, **more: Any) -> Given:
    """A medium of grey levels [frames, 3, height, width]; a picture is one frame, taken twice."""
    frames = np.repeat(levels, INNER, axis=0) if len(levels) == 1 else levels
    grid = (len(frames) // INNER, levels.shape[2] // SIDE, levels.shape[3] // SIDE)
    return Given(patches(normalised(frames)), grid, **more)


def drawn(seed: int, size: tuple[int, int] = (84, 56)) -> np.ndarray:
    """Grey levels [1, 3, height, width]."""
    picture = draw_image(ImageRecipe(pattern="gradient", size=size, seed=seed))
    return np.asarray(picture).transpose(2, 0, 1)[None].astype(np.float64)


def filmed(frames: int) -> np.ndarray:
    recipe = VideoRecipe(pattern="gradient", size=(84, 56), frames=frames)
    return draw_frames(recipe).transpose(0, 3, 1, 2).astype(np.float64)


def resized(filter_: PIL.Image.Resampling, size: tuple[int, int]) -> np.ndarray:
    picture = draw_image(ImageRecipe(pattern="checkerboard", size=(40, 30)))
    return np.asarray(picture.resize(size, filter_)).transpose(2, 0, 1)[None].astype(np.float64)


PICTURE = drawn(1)
FRAMES = filmed(8)
OPACITY = np.clip(np.arange(84) * 10 - 200, 0, 255)[None, None, None, :] / 255


def on(background: float) -> np.ndarray:
    """The picture, transparent on the left, on a background."""
    return np.rint(OPACITY * PICTURE + (1 - OPACITY) * background)


def palette_on(background: int) -> tuple[np.ndarray, np.ndarray]:
    """A palette enlarged without its transparent entry, and with it on a background."""
    palette = draw_image(ImageRecipe(pattern="gradient", size=(60, 40))).quantize(64)
    entry = palette.getpixel((30, 20))
    plain = palette.convert("RGB")
    mask = PIL.Image.fromarray((np.asarray(palette) == entry).astype(np.uint8) * 255)
    laid = plain.copy()
    laid.paste((background,) * 3, mask=mask)
    sides = (picture.resize((168, 112), BICUBIC) for picture in (plain, laid))
    first, second = (np.asarray(side).transpose(2, 0, 1)[None].astype(np.float64) for side in sides)
    return first, second


def finding(reference: Sequence[Given], tested: Sequence[Given]) -> RuleInput:
    """Both sides with their arrays; the stage need not differ."""
    traces, files = {}, {}
    for side, backend, given_ in (("reference", "transformers", reference), ("tested", "vllm", tested)):
        media = tuple(one.medium(item) for item, one in enumerate(given_))
        arrays = {m.tensor_name(g.array): g.values for m, g in zip(media, given_, strict=True)}
        traces[side] = make_trace(backend, media=media)
        files[f"{side}_tensors"] = ArrayFile(InMemory(arrays))
    both = make_pair(**traces, **files)
    found = diff_media(both)
    return RuleInput(both, found, (found,))


def told(reference: Sequence[Given], tested: Sequence[Given]) -> tuple[Diagnosis, ...]:
    found = finding(reference, tested)
    assert found.diff.status is DiffStatus.MISMATCH
    return explain_diff(found)


def named(reference: Sequence[Given], tested: Sequence[Given]) -> list[str]:
    """The causes, without the one that is always named."""
    *causes, last = [diagnosis.cause for diagnosis in told(reference, tested)]
    assert last == "pixels differ"
    return causes


def one(reference: np.ndarray, tested: np.ndarray, **more: Any) -> tuple[list[Given], list[Given]]:
    return [patched(reference, **more)], [patched(tested, **more)]


def valued(change: Callable[[np.ndarray], np.ndarray]) -> tuple[list[Given], list[Given]]:
    """The picture with other values, [3, height, width]."""
    given_ = patched(PICTURE)
    twice = np.repeat(PICTURE, INNER, axis=0)
    return [given_], [replace(given_, values=patches(change(normalised(twice)).astype(np.float32)))]


def of(levels: np.ndarray, **more: Any) -> Given:
    return patched(levels, modality="video", seconds=1.0, **more)


BICUBIC, BILINEAR, NEAREST = (PIL.Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "NEAREST"))
VIDEO = of(FRAMES)
DIFFERENCES = {
    "two pictures exchanged": (
        "media reordered", [patched(drawn(1)), patched(drawn(2))], [patched(drawn(2)), patched(drawn(1))]
    ),
    "a picture given again": (
        "media reordered", [patched(drawn(1)), patched(drawn(2))], [patched(drawn(1)), patched(drawn(1))]
    ),
    "another grid": ("grid transposed", [patched(PICTURE)], [replace(patched(PICTURE), grid=(1, 6, 4))]),
    "turned": ("image rotated or mirrored", *one(PICTURE, np.rot90(PICTURE, 1, (2, 3)))),
    "turned, square": (
        "image rotated or mirrored", *one(drawn(3, (56, 56)), np.rot90(drawn(3, (56, 56)), 3, (2, 3)))
    ),
    "upside down": ("image rotated or mirrored", *one(PICTURE, PICTURE[:, :, ::-1, ::-1])),
    "mirrored": ("image rotated or mirrored", *one(PICTURE, PICTURE[..., ::-1])),
    "blue for red": ("channels swapped", *one(PICTURE, PICTURE[:, ::-1])),
    "green for red": ("channels swapped", *one(PICTURE, PICTURE[:, [1, 0, 2]])),
    "normalised again": ("pixels normalized twice", *valued(lambda x: (x - MEAN) / STD)),
    "rescaled again, too": ("pixels normalized twice", *valued(lambda x: (x / 255 - MEAN) / STD)),
    "bytes": ("pixels not normalized", *valued(lambda x: np.rint((x * STD + MEAN) * 255))),
    "bytes over 255": ("pixels not normalized", *valued(lambda x: x * STD + MEAN)),
    "by 0.5": ("pixel normalization constants differ", *valued(lambda x: (x * STD + MEAN - 0.5) / 0.5)),
    "nearest": (
        "resize filter differs", *one(resized(BICUBIC, (112, 84)), resized(NEAREST, (112, 84)))
    ),
    "bilinear": (
        "resize filter differs", *one(resized(BICUBIC, (112, 84)), resized(BILINEAR, (112, 84)))
    ),
    "on white": ("alpha composited differently", *one(PICTURE, on(255))),
    "on black": ("alpha composited differently", *one(PICTURE, on(0))),
    "a transparent entry, resized": ("alpha composited differently", *one(*palette_on(255))),
    "a transparent entry, black": ("alpha composited differently", *one(*palette_on(0))),
    "alpha dropped": ("alpha composited differently", *one(on(255), PICTURE)),
    "frames backwards": ("frames sampled differently", [VIDEO], [of(FRAMES[::-1])]),
    "frames twice": ("frames sampled differently", [VIDEO], [of(FRAMES[[0, 0, 2, 2, 4, 4, 6, 6]])]),
    "no seconds": ("second_per_grid_ts differs", [VIDEO], [replace(VIDEO, seconds=None)]),
    "other seconds": ("second_per_grid_ts differs", [VIDEO], [replace(VIDEO, seconds=0.5)]),
    "a grey level": (
        "pixels rounded differently", *one(PICTURE, np.where(PICTURE % 3 == 1, PICTURE - 1, PICTURE))
    ),
}  # fmt: skip
"""What is done to media, and what it is to be called."""
MUTE = {
    "noise": one(PICTURE, np.clip(PICTURE + np.random.default_rng(1).integers(-9, 9, PICTURE.shape), 0, 255)),
    "another picture": one(PICTURE, drawn(7)),
    "brighter": one(PICTURE, np.minimum(PICTURE + 40, 255)),
    "another size": one(PICTURE, drawn(1, (56, 56))),
    "a medium less": ([patched(PICTURE), patched(drawn(2))], [patched(PICTURE)]),
    "not a number": valued(lambda x: np.where(x > 2, np.nan, x)),
    "other white pictures": one(np.full_like(PICTURE, 255), np.full_like(PICTURE, 100)),
    "another video": ([VIDEO], [of(255 - FRAMES)]),
}
"""Differences that none of these rules knows but the one that says so."""


@pytest.mark.parametrize(("cause", "reference", "tested"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_is_named_and_nothing_else(cause: str, reference: list[Given], tested: list[Given]) -> None:
    causes = named(reference, tested)
    other_numbers = {"pixels normalized twice", "pixels not normalized"} & set(causes)
    assert causes == [cause, *(["pixel normalization constants differ"] if other_numbers else [])]


@pytest.mark.parametrize(("reference", "tested"), MUTE.values(), ids=MUTE)
def test_nothing_is_made_up(reference: list[Given], tested: list[Given]) -> None:
    assert named(reference, tested) == []


@pytest.mark.parametrize("media", [[VIDEO], [patched(PICTURE), patched(drawn(2))], []])
def test_no_rule_says_anything_of_a_match(media: list[Given]) -> None:
    found = finding(media, media)
    assert found.diff.status is DiffStatus.MATCH
    known = [rule for rule in load_rules() if Stage.MEDIA in rule.stages]
    assert len(known) == 14
    assert [rule.explain(found) for rule in known] == [None] * len(known)


@pytest.mark.parametrize("reduced", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "name", ["turned", "blue for red", "frames backwards", "another grid", "bytes over 255"]
)
def test_a_coarser_dtype_hides_nothing_of_it(name: str, reduced: str) -> None:
    cause, reference, tested = DIFFERENCES[name]
    coarse = [
        replace(given_, values=round_to_dtype(given_.values, reduced), dtype=reduced) for given_ in tested
    ]
    assert named(reference, coarse)[0] == cause


def test_explanations_hold_the_numbers_of_the_case() -> None:
    words = {name: told(*DIFFERENCES[name][1:])[0].explanation for name in DIFFERENCES}
    assert (
        "image 0 is image 1 of the reference, image 1 is image 0 of the reference"
        in words["two pictures exchanged"]
    )
    assert "its grid is 1 x 6 x 4 in vllm and 1 x 4 x 6 in the reference" in words["another grid"]
    assert "rotated by 90 degrees to the left" in words["turned"]
    assert "order BGR in vllm" in words["blue for red"]
    assert "closer to white in vllm" in words["on white"]
    assert "closer to white in the reference" in words["alpha dropped"]
    assert words["frames twice"].endswith("have, in the reference, the indices 0, 0, 2, 2, 4, 4, 6, 6.")
    assert "is missing in vllm and" in words["no seconds"]
    assert "is 0.5 s in vllm and" in words["other seconds"]


def test_frames_that_the_reference_has_not_are_marked() -> None:
    strange = FRAMES[[1, 0, 2, 3, 4, 5, 6, 7]]
    strange[5] = 255 - strange[5]
    (first, *_) = told([VIDEO], [of(strange)])
    assert first.cause == "frames sampled differently"
    assert "1, 0, 2, 3, 4, ?, 6, 7; the 1 marked ? are not in the reference" in first.explanation


def test_a_rule_that_explains_one_of_two_media_is_less_sure() -> None:
    first, second = patched(PICTURE), patched(drawn(2))
    swapped = patched(PICTURE[:, ::-1])
    (both, *_) = told([first, second], [swapped, patched(drawn(2)[:, ::-1])])
    assert (both.cause, both.confidence) == ("channels swapped", 1.0)
    assert both.explanation.endswith("This holds for all of 2 media that differ.")
    (alone, *_) = told([first, second], [swapped, patched(drawn(5))])
    assert (alone.cause, alone.confidence) == ("channels swapped", 0.6)
    assert alone.explanation.endswith("This holds for 1 of 2 media that differ.")


@pytest.mark.parametrize("shape", [(3, 56, 84), (1, 3, 56, 84)])
def test_whole_pictures_are_read_too(shape: tuple[int, ...]) -> None:
    reference = [Given(normalised(PICTURE).reshape(shape))]
    for name, tested in (
        ("channels swapped", PICTURE[:, ::-1]),
        ("image rotated or mirrored", PICTURE[..., ::-1]),
        ("pixels rounded differently", np.maximum(PICTURE - 1, 0)),
        ("alpha composited differently", on(255)),
    ):
        assert named(reference, [Given(normalised(tested).reshape(shape))])[0] == name


@pytest.mark.parametrize("shape", [(3, 4704), (14112,), (2, 84, 84)])
def test_of_a_shape_that_nobody_knows_no_channels_are_told(shape: tuple[int, ...]) -> None:
    reference, tested = (normalised(levels).reshape(shape) for levels in (PICTURE, PICTURE[:, ::-1]))
    assert named([Given(reference)], [Given(tested)]) == []


@given(st.permutations(range(4)).filter(lambda order: order != [0, 1, 2, 3]))
def test_any_order_of_the_media_is_told(order: list[int]) -> None:
    media = [patched(drawn(seed)) for seed in range(4)]
    (first, *_) = told(media, [media[place] for place in order])
    assert first.cause == "media reordered"
    for theirs, ours in enumerate(order):
        assert (f"image {theirs} is image {ours} of the reference" in first.explanation) == (theirs != ours)


def test_a_sound_is_taken_for_no_picture() -> None:
    sound = Given(np.ones((20, 128), np.float32), modality="audio", array="input_features")
    media = [patched(drawn(1)), patched(drawn(2))]
    (first, *_) = told([*media, sound], [*media[::-1], sound])
    assert first.cause == "media reordered"
    assert told([sound], [replace(sound, values=sound.values + 1)]) == ()


@given(st.lists(st.integers(0, 7), min_size=8, max_size=8).filter(lambda order: order != [*range(8)]))
@settings(max_examples=30)
def test_any_choice_of_frames_is_told(order: list[int]) -> None:
    (first, *_) = told([VIDEO], [of(FRAMES[order])])
    assert first.cause == "frames sampled differently"
    assert first.explanation.endswith(f"have, in the reference, the indices {', '.join(map(str, order))}.")


numbers = st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3)


@given(numbers, numbers)
@settings(max_examples=30)
def test_any_other_mean_and_deviation_are_told(mean: list[float], std: list[float]) -> None:
    means, stds = (np.array(values)[:, None, None] for values in (mean, std))
    causes = named(*valued(lambda x: (x * STD + MEAN - means) / stds))
    assert causes == ["pixel normalization constants differ"]


@given(st.integers(1, 3), st.booleans())
def test_any_turn_is_told(quarters: int, mirrored: bool) -> None:
    turned = np.rot90(PICTURE, quarters, (2, 3))
    assert named(*one(PICTURE, turned[..., ::-1] if mirrored else turned)) == ["image rotated or mirrored"]


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
@settings(max_examples=30)
def test_any_values_off_by_one_level_are_told(seed: int, part: float) -> None:
    random = np.random.default_rng(seed)
    steps = (random.random(PICTURE.shape) < part) * random.choice([-1, 1], PICTURE.shape)
    steps[(PICTURE + steps < 0) | (PICTURE + steps > 255)] = 0
    assume(steps.any())
    assert named(*one(PICTURE, PICTURE + steps))[0] == "pixels rounded differently"
