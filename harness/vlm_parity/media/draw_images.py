"""Synthetic images and frames of videos.

Integer arithmetic and numpy's frozen RandomState give the same pixels on every platform. Each pattern
determines the order of rows, columns, channels and frames, so that an engine that rotates, mirrors, swaps or
shuffles them is detected. Only ``plain`` has a single color, for media of which only the size matters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from vlm_parity.schema.media_source import ImageRecipe, Pattern, VideoRecipe

NOISE = 24
"""Maximum deviation in gray levels: detail that a wrong resampling filter removes."""
CELLS = 8
"""Number of checkerboard cells along the shorter side."""
BAND_PIXELS = 2**20
"""Pixels that are drawn at once."""
_CORNERS = np.array([[[230, 40, 40], [40, 200, 60]], [[50, 70, 230], [235, 210, 50]]])
"""Colors of the corners: red, green; blue, yellow."""
DrawRows = Callable[[np.ndarray], np.ndarray]
"""Draws rows, whose numbers are int [rows, 1]: int [rows, width, 3]."""


def draw_image(recipe: ImageRecipe) -> PIL.Image.Image:
    """Draw the image of a recipe, in RGB.

    Raises:
        ValueError: the text contains a character outside the built-in font (Latin-1).
    """
    return PIL.Image.fromarray(_draw_pattern(recipe))


def draw_frames(recipe: VideoRecipe) -> np.ndarray:
    """Draw the frames of a recipe: uint8 [frames, height, width, 3].

    The pattern moves to the right, and a white bar at the bottom grows from frame to frame.

    Raises:
        ValueError: the text contains a character outside the built-in font (Latin-1).
    """
    image = _draw_pattern(recipe)
    if recipe.pattern == "plain":
        return np.repeat(image[np.newaxis], recipe.frames, axis=0)
    height, width, _ = image.shape
    step = max(1, width // 12)
    frames = np.empty((recipe.frames, *image.shape), np.uint8)
    for number, frame in enumerate(frames, start=1):
        frame[:] = np.roll(image, (number - 1) * step, axis=1)
        bar = frame[height - max(1, height // 12) :]
        bar[:] = 0
        bar[:, : width * number // recipe.frames] = 255
    return frames


def _draw_pattern(recipe: ImageRecipe | VideoRecipe) -> np.ndarray:
    """Draw a pattern: uint8 [height, width, 3].

    It is drawn in bands of rows, because the integers in between take 24 times the memory of the result.
    """
    width, height = recipe.size
    random = np.random.RandomState(recipe.seed)
    if recipe.pattern == "plain":
        return np.full((height, width, 3), random.randint(0, 256, size=3), np.uint8)
    draw_rows = _PATTERNS[recipe.pattern](width, height, recipe.text, random)
    image = np.empty((height, width, 3), np.uint8)
    step = max(1, BAND_PIXELS // width)
    for first in range(0, height, step):
        rows = np.arange(first, min(first + step, height))[:, None]
        noise = random.randint(-NOISE, NOISE + 1, size=(len(rows), width, 3))
        image[first : first + step] = np.clip(draw_rows(rows) + noise, 0, 255)
    return image


def _draw_gradient(width: int, height: int, _: str, random: np.random.RandomState) -> DrawRows:
    """Draw red growing to the right, green downwards, blue along the diagonal, each from a seeded start."""
    columns = np.arange(width)[None, :]
    starts = random.randint(0, 256, size=3)

    def draw(rows: np.ndarray) -> np.ndarray:
        slopes = np.broadcast_arrays(columns * 255 // width, rows * 255 // height, (rows + columns) * 2)
        return (np.stack(slopes, axis=-1) + starts) % 256

    return draw


def _draw_checkerboard(width: int, height: int, _: str, __: np.random.RandomState) -> DrawRows:
    """Draw black and colored cells, with a different color in each quarter."""
    columns = np.arange(width)[None, :]
    cell = max(1, min(width, height) // CELLS)

    def draw(rows: np.ndarray) -> np.ndarray:
        is_colored = (rows // cell + columns // cell) % 2 == 0
        return np.where(is_colored[..., None], _CORNERS[rows * 2 // height, columns * 2 // width], 0)

    return draw


def _draw_text(width: int, height: int, text: str, _: np.random.RandomState) -> DrawRows:
    """Draw dark letters, as large as fit, on a background that turns from yellow to blue to the right."""
    red = 255 - np.arange(width) * 100 // width
    background = np.stack([red, np.full(width, 235), 410 - red], axis=-1)
    page = _rasterize_text(width, height, text)

    def draw(rows: np.ndarray) -> np.ndarray:
        return np.where(page[rows[:, 0], :, None], 20, background)

    return draw


_PATTERNS: dict[Pattern, Callable[[int, int, str, np.random.RandomState], DrawRows]] = {
    "gradient": _draw_gradient,
    "checkerboard": _draw_checkerboard,
    "text": _draw_text,
}


def _rasterize_text(width: int, height: int, text: str) -> np.ndarray:
    """Rasterize a text with Pillow's bitmap font: bool [height, width], True in the strokes.

    The default font is not used: FreeType renders its outlines differently in each version.
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
