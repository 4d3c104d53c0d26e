"""Pictures and moving pictures made from numbers alone.

Integer arithmetic and numpy's frozen RandomState: the same pixels on every platform. In each
pattern the order of rows, columns, channels and frames can be told, so that a front end which
turns, mirrors, swaps or shuffles them shows; ``plain`` alone is one colour, for media of which nothing but
the size counts.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe

NOISE = 24
"""Grey levels, up and down: detail that a wrong resampling filter smooths away."""
CELLS = 8
"""Cells of the checkerboard along the shorter side."""
_CORNERS = np.array([[[230, 40, 40], [40, 200, 60]], [[50, 70, 230], [235, 210, 50]]])
"""Red, green; blue, yellow."""


def draw_image(recipe: ImageRecipe) -> PIL.Image.Image:
    """The picture of a recipe, RGB.

    Raises:
        ValueError: the text holds a character that the built-in font (Latin-1) has not.
    """
    return PIL.Image.fromarray(_draw_pattern(recipe))


def draw_frames(recipe: VideoRecipe) -> np.ndarray:
    """The frames of a recipe, uint8 [frames, height, width, 3]: the pattern moves to the right, and
    a white bar at the bottom grows from frame to frame.

    Raises:
        ValueError: the text holds a character that the built-in font (Latin-1) has not.
    """
    picture = _draw_pattern(recipe)
    if recipe.pattern == "plain":
        return np.repeat(picture[np.newaxis], recipe.frames, axis=0)
    height, width, _ = picture.shape
    step = max(1, width // 12)
    frames = np.stack([np.roll(picture, place * step, axis=1) for place in range(recipe.frames)])
    for place, frame in enumerate(frames, start=1):
        bar = frame[height - max(1, height // 12) :]
        bar[:] = 0
        bar[:, : width * place // recipe.frames] = 255
    return frames


def _draw_pattern(recipe: ImageRecipe | VideoRecipe) -> np.ndarray:
    """uint8 [height, width, 3]"""
    width, height = recipe.size
    numbers = np.random.RandomState(recipe.seed)
    if recipe.pattern == "plain":
        return np.full((height, width, 3), numbers.randint(0, 256, size=3), np.uint8)
    if recipe.pattern == "gradient":
        colours = _gradient(width, height, numbers)
    elif recipe.pattern == "checkerboard":
        colours = _checkerboard(width, height)
    else:
        colours = _draw_text(width, height, recipe.text)
    noise = numbers.randint(-NOISE, NOISE + 1, size=(height, width, 3))
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def _gradient(width: int, height: int, numbers: np.random.RandomState) -> np.ndarray:
    """Red grows to the right, green downwards, blue along the diagonal; the seed shifts their starts."""
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = [columns * 255 // width, rows * 255 // height, (rows + columns) * 2]
    return (np.stack(slopes, axis=-1) + numbers.randint(0, 256, size=3)) % 256


def _checkerboard(width: int, height: int) -> np.ndarray:
    """Black and coloured cells, of another colour in each quarter."""
    rows, columns = np.mgrid[0:height, 0:width]
    cell = max(1, min(width, height) // CELLS)
    coloured = (rows // cell + columns // cell) % 2 == 0
    return np.where(coloured[..., None], _CORNERS[rows * 2 // height, columns * 2 // width], 0)


def _draw_text(width: int, height: int, text: str) -> np.ndarray:
    """Dark letters, as large as fit, on paper that turns from yellow to blue to the right."""
    red = np.broadcast_to(255 - np.arange(width) * 100 // width, (height, width))
    paper = np.stack([red, np.full((height, width), 235), 410 - red], axis=-1)
    return np.where(_letters(width, height, text)[..., None], 20, paper)


def _letters(width: int, height: int, text: str) -> np.ndarray:
    """bool [height, width]: True in the strokes.

    The bitmap font, not Pillow's default: FreeType draws its outlines otherwise in each version.
    """
    font = PIL.ImageFont.load_default_imagefont()
    probe = PIL.ImageDraw.Draw(PIL.Image.new("L", (1, 1)))
    left, top, right, bottom = (int(edge) for edge in probe.multiline_textbbox((0, 0), text, font))
    canvas = PIL.Image.new("L", (max(1, right - left), max(1, bottom - top)))
    PIL.ImageDraw.Draw(canvas).multiline_text((-left, -top), text, 255, font)
    scale = max(1, min(width // canvas.width, height // canvas.height))
    large = np.kron(np.asarray(canvas) > 0, np.ones((scale, scale), bool))[:height, :width]
    page = np.zeros((height, width), bool)
    page[: large.shape[0], : large.shape[1]] = large
    return page
