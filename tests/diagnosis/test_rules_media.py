"""Explanations of media that differ: each cause alone, with the numbers of the case."""

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
    """Normalized, as the tower takes them."""
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


def normalized(levels: np.ndarray) -> np.ndarray:
    """Normalize gray levels [..., 3, height, width] like a processor."""
    values: np.ndarray = ((levels / 255 - MEAN) / STD).astype(np.float32)
    return values


def patches(images: np.ndarray) -> np.ndarray:
    """[frames, 3, height, width] as Qwen's processors order their patches."""
    count, _, height, width = images.shape
    rows, columns = height // SIDE // MERGED, width // SIDE // MERGED
    split = images.reshape(count // INNER, INNER, 3, rows, MERGED, SIDE, columns, MERGED, SIDE)
    return split.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, 3 * INNER * SIDE**2)


def patched(levels: np.ndarray, **more: Any) -> Given:
    """Build a medium from gray levels [frames, 3, height, width]; an image is one frame, repeated."""
    frames = np.repeat(levels, INNER, axis=0) if len(levels) == 1 else levels
    grid = (len(frames) // INNER, levels.shape[2] // SIDE, levels.shape[3] // SIDE)
    return Given(patches(normalized(frames)), grid, **more)


def drawn(seed: int, size: tuple[int, int] = (84, 56)) -> np.ndarray:
    """Draw gray levels [1, 3, height, width]."""
    image = draw_image(ImageRecipe(pattern="gradient", size=size, seed=seed))
    return np.asarray(image).transpose(2, 0, 1)[None].astype(np.float64)


def filmed(frames: int) -> np.ndarray:
    recipe = VideoRecipe(pattern="gradient", size=(84, 56), frames=frames)
    return draw_frames(recipe).transpose(0, 3, 1, 2).astype(np.float64)


def resized(filter_: PIL.Image.Resampling, size: tuple[int, int]) -> np.ndarray:
    image = draw_image(ImageRecipe(pattern="checkerboard", size=(40, 30)))
    return np.asarray(image.resize(size, filter_)).transpose(2, 0, 1)[None].astype(np.float64)


IMAGE_LEVELS = drawn(1)
SQUARE = drawn(3, (112, 112))
FRAMES = filmed(8)
OPACITY = np.clip(np.arange(84) * 10 - 200, 0, 255)[None, None, None, :] / 255


def on(background: float) -> np.ndarray:
    """Composite the image, transparent on the left, onto a background."""
    levels: np.ndarray = np.rint(OPACITY * IMAGE_LEVELS + (1 - OPACITY) * background)
    return levels


def palette_on(background: int) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge a palette image without its transparent entry, and with it on a background."""
    palette = draw_image(ImageRecipe(pattern="gradient", size=(60, 40))).quantize(64)
    entry = palette.getpixel((30, 20))
    plain = palette.convert("RGB")
    mask = PIL.Image.fromarray((np.asarray(palette) == entry).astype(np.uint8) * 255)
    laid = plain.copy()
    laid.paste((background,) * 3, mask=mask)
    sides = (image.resize((168, 112), BICUBIC) for image in (plain, laid))
    first, second = (np.asarray(side).transpose(2, 0, 1)[None].astype(np.float64) for side in sides)
    return first, second


def finding(
    reference: Sequence[Given], tested: Sequence[Given], *, are_transparent: bool = True
) -> RuleInput:
    """Build the input of rules from both sides with their arrays; the stage need not differ."""
    traces: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for side, backend, given_ in (("reference", "transformers", reference), ("tested", "vllm", tested)):
        media = tuple(one.medium(item) for item, one in enumerate(given_))
        arrays = {m.tensor_name(g.array): g.values for m, g in zip(media, given_, strict=True)}
        transparent = tuple(range(len(media))) if are_transparent else ()
        traces[side] = make_trace(backend, media=media, transparent_images=transparent)
        files[f"{side}_tensors"] = ArrayFile(InMemory(arrays))
    both = make_pair(**traces, **files)
    found = diff_media(both)
    return RuleInput(both, found, (found,))


def explain(reference: Sequence[Given], tested: Sequence[Given]) -> tuple[Diagnosis, ...]:
    found = finding(reference, tested)
    assert found.diff.status is DiffStatus.MISMATCH
    return explain_diff(found)


def named(reference: Sequence[Given], tested: Sequence[Given]) -> list[str]:
    """List the causes, without the one that is always named."""
    *causes, last = [diagnosis.cause for diagnosis in explain(reference, tested)]
    assert last == "pixels differ"
    return causes


def one(reference: np.ndarray, tested: np.ndarray, **more: Any) -> tuple[list[Given], list[Given]]:
    return [patched(reference, **more)], [patched(tested, **more)]


def valued(change: Callable[[np.ndarray], np.ndarray]) -> tuple[list[Given], list[Given]]:
    """Change the values, [3, height, width], of the image."""
    given_ = patched(IMAGE_LEVELS)
    twice = np.repeat(IMAGE_LEVELS, INNER, axis=0)
    return [given_], [replace(given_, values=patches(change(normalized(twice)).astype(np.float32)))]


def of(levels: np.ndarray, **more: Any) -> Given:
    return patched(levels, modality="video", seconds=1.0, **more)


BICUBIC, BILINEAR, NEAREST = (PIL.Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "NEAREST"))
VIDEO = of(FRAMES)
DIFFERENCES = {
    "two images exchanged": (
        "media reordered",
        [patched(drawn(1)), patched(drawn(2))],
        [patched(drawn(2)), patched(drawn(1))],
    ),
    "an image given again": (
        "media reordered",
        [patched(drawn(1)), patched(drawn(2))],
        [patched(drawn(1)), patched(drawn(1))],
    ),
    "another grid": (
        "grid transposed",
        [patched(IMAGE_LEVELS)],
        [replace(patched(IMAGE_LEVELS), grid=(1, 6, 4))],
    ),
    "turned": ("image rotated or mirrored", *one(IMAGE_LEVELS, np.rot90(IMAGE_LEVELS, 1, (2, 3)))),
    "turned, square": (
        "image rotated or mirrored",
        *one(drawn(3, (56, 56)), np.rot90(drawn(3, (56, 56)), 3, (2, 3))),
    ),
    "upside down": ("image rotated or mirrored", *one(IMAGE_LEVELS, IMAGE_LEVELS[:, :, ::-1, ::-1])),
    "mirrored": ("image rotated or mirrored", *one(IMAGE_LEVELS, IMAGE_LEVELS[..., ::-1])),
    "blue for red": ("channels swapped", *one(IMAGE_LEVELS, IMAGE_LEVELS[:, ::-1])),
    "green for red": ("channels swapped", *one(IMAGE_LEVELS, IMAGE_LEVELS[:, [1, 0, 2]])),
    "normalized again": ("pixels normalized twice", *valued(lambda x: (x - MEAN) / STD)),
    "rescaled again, too": ("pixels normalized twice", *valued(lambda x: (x / 255 - MEAN) / STD)),
    "bytes": ("pixels not normalized", *valued(lambda x: np.rint((x * STD + MEAN) * 255))),
    "bytes over 255": ("pixels not normalized", *valued(lambda x: x * STD + MEAN)),
    "by 0.5": ("pixel normalization constants differ", *valued(lambda x: (x * STD + MEAN - 0.5) / 0.5)),
    "nearest": ("resize filter differs", *one(resized(BICUBIC, (112, 84)), resized(NEAREST, (112, 84)))),
    "bilinear": ("resize filter differs", *one(resized(BICUBIC, (112, 84)), resized(BILINEAR, (112, 84)))),
    "on white": ("alpha composited differently", *one(IMAGE_LEVELS, on(255))),
    "on black": ("alpha composited differently", *one(IMAGE_LEVELS, on(0))),
    "a transparent entry, resized": ("alpha composited differently", *one(*palette_on(255))),
    "a transparent entry, black": ("alpha composited differently", *one(*palette_on(0))),
    "alpha dropped": ("alpha composited differently", *one(on(255), IMAGE_LEVELS)),
    "frames backwards": ("frames sampled differently", [VIDEO], [of(FRAMES[::-1])]),
    "frames twice": ("frames sampled differently", [VIDEO], [of(FRAMES[[0, 0, 2, 2, 4, 4, 6, 6]])]),
    "no seconds": ("second_per_grid_ts differs", [VIDEO], [replace(VIDEO, seconds=None)]),
    "other seconds": ("second_per_grid_ts differs", [VIDEO], [replace(VIDEO, seconds=0.5)]),
    "limited range": ("color range differs", *one(IMAGE_LEVELS, np.rint(IMAGE_LEVELS * 219 / 255 + 16))),
    "expanded range": ("color range differs", *one(np.rint(IMAGE_LEVELS * 219 / 255 + 16), IMAGE_LEVELS)),
    "a pixel lower": ("image shifted", *one(SQUARE, np.roll(SQUARE, 1, 2))),
    "two pixels to the left": (
        "image shifted",
        *one(SQUARE, np.roll(SQUARE, -2, 3)),
    ),
    "a gray level": (
        "pixels rounded differently",
        *one(IMAGE_LEVELS, np.where(IMAGE_LEVELS % 3 == 1, IMAGE_LEVELS - 1, IMAGE_LEVELS)),
    ),
}
"""Changes of media, with the expected causes."""
MUTE = {
    "noise": one(
        IMAGE_LEVELS,
        np.clip(IMAGE_LEVELS + np.random.default_rng(1).integers(-9, 9, IMAGE_LEVELS.shape), 0, 255),
    ),
    "another image": one(IMAGE_LEVELS, drawn(7)),
    "brighter": one(IMAGE_LEVELS, np.minimum(IMAGE_LEVELS + 40, 255)),
    "another size": one(IMAGE_LEVELS, drawn(1, (56, 56))),
    "a medium less": ([patched(IMAGE_LEVELS), patched(drawn(2))], [patched(IMAGE_LEVELS)]),
    "not a number": valued(lambda x: np.where(x > 2, np.nan, x)),
    "other white images": one(np.full_like(IMAGE_LEVELS, 255), np.full_like(IMAGE_LEVELS, 100)),
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


@pytest.mark.parametrize("media", [[VIDEO], [patched(IMAGE_LEVELS), patched(drawn(2))], []])
def test_no_rule_says_anything_of_a_match(media: list[Given]) -> None:
    found = finding(media, media)
    assert found.diff.status is DiffStatus.MATCH
    known = [rule for rule in load_rules() if Stage.MEDIA in rule.stages]
    assert len(known) == 20
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
    words = {name: explain(*DIFFERENCES[name][1:])[0].explanation for name in DIFFERENCES}
    assert (
        "image 0 is image 1 of the reference, image 1 is image 0 of the reference"
        in words["two images exchanged"]
    )
    assert "its grid is 1 x 6 x 4 in vllm and 1 x 4 x 6 in the reference" in words["another grid"]
    assert "rotated by 90 degrees to the left" in words["turned"]
    assert "order BGR in vllm" in words["blue for red"]
    assert "closer to white in vllm" in words["on white"]
    assert "closer to white in the reference" in words["alpha dropped"]
    assert words["frames twice"].endswith("have, in the reference, the indices 0, 0, 2, 2, 4, 4, 6, 6.")
    assert "is missing in vllm and" in words["no seconds"]
    assert "go from 16 to 235 in vllm" in words["limited range"]
    assert "go from 16 to 235 in the reference" in words["expanded range"]
    assert "1 pixels lower and 0 further to the right" in words["a pixel lower"]
    assert "0 pixels lower and 2 further to the left" in words["two pixels to the left"]
    assert "is 0.5 s in vllm and" in words["other seconds"]


@pytest.mark.parametrize(
    "tested", [on(255), on(0), np.rint(255 * (IMAGE_LEVELS / 255) ** 1.2)], ids=["white", "black", "gamma"]
)
def test_an_image_without_transparency_is_not_said_to_be_composited(tested: np.ndarray) -> None:
    found = finding(*one(IMAGE_LEVELS, tested), are_transparent=False)
    assert "alpha composited differently" not in [each.cause for each in explain_diff(found)]


def test_frames_that_the_reference_has_not_are_marked() -> None:
    strange = FRAMES[[1, 0, 2, 3, 4, 5, 6, 7]]
    strange[5] = 255 - strange[5]
    (first, *_) = explain([VIDEO], [of(strange)])
    assert first.cause == "frames sampled differently"
    assert "1, 0, 2, 3, 4, ?, 6, 7; the 1 marked ? are not in the reference" in first.explanation


def test_a_rule_that_explains_one_of_two_media_is_less_sure() -> None:
    first, second = patched(IMAGE_LEVELS), patched(drawn(2))
    swapped = patched(IMAGE_LEVELS[:, ::-1])
    (both, *_) = explain([first, second], [swapped, patched(drawn(2)[:, ::-1])])
    assert (both.cause, both.confidence) == ("channels swapped", 1.0)
    assert both.explanation.endswith("This holds for all of 2 media that differ.")
    (alone, *_) = explain([first, second], [swapped, patched(drawn(5))])
    assert (alone.cause, alone.confidence) == ("channels swapped", 0.6)
    assert alone.explanation.endswith("This holds for 1 of 2 media that differ.")


@pytest.mark.parametrize("shape", [(3, 56, 84), (1, 3, 56, 84)])
def test_whole_images_are_read_too(shape: tuple[int, ...]) -> None:
    reference = [Given(normalized(IMAGE_LEVELS).reshape(shape))]
    for name, tested in (
        ("channels swapped", IMAGE_LEVELS[:, ::-1]),
        ("image rotated or mirrored", IMAGE_LEVELS[..., ::-1]),
        ("pixels rounded differently", np.maximum(IMAGE_LEVELS - 1, 0)),
        ("alpha composited differently", on(255)),
    ):
        assert named(reference, [Given(normalized(tested).reshape(shape))])[0] == name


@pytest.mark.parametrize("shape", [(3, 4704), (14112,), (2, 84, 84)])
def test_channels_of_unknown_shapes_are_not_reported(shape: tuple[int, ...]) -> None:
    reference, tested = (
        normalized(levels).reshape(shape) for levels in (IMAGE_LEVELS, IMAGE_LEVELS[:, ::-1])
    )
    assert named([Given(reference)], [Given(tested)]) == []


@given(st.permutations(range(4)).filter(lambda order: order != [0, 1, 2, 3]))
def test_any_order_of_the_media_is_reported(order: list[int]) -> None:
    media = [patched(drawn(seed)) for seed in range(4)]
    (first, *_) = explain(media, [media[place] for place in order])
    assert first.cause == "media reordered"
    for theirs, ours in enumerate(order):
        assert (f"image {theirs} is image {ours} of the reference" in first.explanation) == (theirs != ours)


def test_audio_is_taken_for_no_image() -> None:
    audio = Given(np.ones((20, 128), np.float32), modality="audio", array="input_features")
    media = [patched(drawn(1)), patched(drawn(2))]
    (first, *_) = explain([*media, audio], [*media[::-1], audio])
    assert first.cause == "media reordered"
    (only,) = explain([audio], [replace(audio, values=audio.values + 1)])
    assert only.cause == "mel features differ"


@given(st.lists(st.integers(0, 7), min_size=8, max_size=8).filter(lambda order: order != [*range(8)]))
@settings(max_examples=30)
def test_any_choice_of_frames_is_reported(order: list[int]) -> None:
    (first, *_) = explain([VIDEO], [of(FRAMES[order])])
    assert first.cause == "frames sampled differently"
    assert first.explanation.endswith(f"have, in the reference, the indices {', '.join(map(str, order))}.")


numbers = st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3)


@given(numbers, numbers)
@settings(max_examples=30)
def test_any_other_mean_and_deviation_are_reported(mean: list[float], std: list[float]) -> None:
    means, stds = (np.array(values)[:, None, None] for values in (mean, std))
    causes = named(*valued(lambda x: (x * STD + MEAN - means) / stds))
    assert causes == ["pixel normalization constants differ"]


@given(st.integers(1, 3), st.booleans())
def test_any_turn_is_reported(quarters: int, mirrored: bool) -> None:
    turned = np.rot90(IMAGE_LEVELS, quarters, (2, 3))
    assert named(*one(IMAGE_LEVELS, turned[..., ::-1] if mirrored else turned)) == [
        "image rotated or mirrored"
    ]


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
@settings(max_examples=30)
def test_any_values_off_by_one_level_are_reported(seed: int, part: float) -> None:
    random = np.random.default_rng(seed)
    steps = (random.random(IMAGE_LEVELS.shape) < part) * random.choice([-1, 1], IMAGE_LEVELS.shape)
    steps[(IMAGE_LEVELS + steps < 0) | (IMAGE_LEVELS + steps > 255)] = 0
    assume(steps.any())
    assert named(*one(IMAGE_LEVELS, IMAGE_LEVELS + steps))[0] == "pixels rounded differently"
