"""Masks and prompts drawn on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from model.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, Prompt

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # red, green, blue

_FIRST_COLOUR: Colour = (30, 144, 255)
_FOREGROUND_COLOUR: Colour = (0, 200, 0)
_BACKGROUND_COLOUR: Colour = (220, 20, 60)
_BOX_COLOUR: Colour = (255, 255, 0)
_GOLDEN_RATIO = 0.618034  # steps of this size around the colour circle stay far apart


def draw(
    image: Pixels, masks: Iterable[npt.NDArray[np.bool_]], prompts: Sequence[Prompt] = ()
) -> Pixels:
    """The image with each mask tinted and outlined in a colour of its own, and the prompts.

    Args:
        image: H x W x 3 uint8 RGB.
        masks: H x W each. A later mask lies above an earlier mask.
        prompts: in pixels of the image.

    Returns:
        H x W x 3 uint8 RGB, a new array.
    """
    picture = image.copy()
    thickness = max(2, max(image.shape) // 400)
    for index, mask in enumerate(masks):
        _draw_mask(picture, mask, colour_of(index), thickness)
    for prompt in prompts:
        _draw_prompt(picture, prompt, thickness)
    return picture


def colour_of(index: int) -> Colour:
    """The colour of an object, always the same. Neighbouring indices have unlike colours."""
    if index == 0:
        return _FIRST_COLOUR
    hue = (0.58 + index * _GOLDEN_RATIO) % 1.0
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    return red, green, blue


def _draw_mask(
    picture: Pixels, mask: npt.NDArray[np.bool_], colour: Colour, thickness: int
) -> None:
    picture[mask] = (0.5 * picture[mask] + 0.5 * np.array(colour)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, thickness)


def _draw_prompt(picture: Pixels, prompt: Prompt, thickness: int) -> None:
    corners = {}
    for (x, y), label in zip(prompt.point_coords, prompt.point_labels, strict=True):
        position = (round(float(x)), round(float(y)))
        if label in (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT):
            corners[int(label)] = position
        elif label in (FOREGROUND, BACKGROUND):
            colour = _FOREGROUND_COLOUR if label == FOREGROUND else _BACKGROUND_COLOUR
            cv2.circle(picture, position, 3 * thickness, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(picture, position, 2 * thickness, colour, -1, cv2.LINE_AA)
    if corners:
        cv2.rectangle(
            picture, corners[BOX_TOP_LEFT], corners[BOX_BOTTOM_RIGHT], _BOX_COLOUR, thickness
        )
