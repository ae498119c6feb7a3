"""Crops of an image for small objects: encoded by itself, a crop shows the object larger.

The network sees an image as a grid of tokens, and an object that covers only a few tokens gets a
coarse mask. The crops of an image are a fixed set of overlapping squares, a half, a quarter, an
eighth ... of its longer side. So further clicks on an object, and clicks on its neighbours, find
the embedding of their crop in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from model.cleanup import main_parts
from model.types import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    MaskPrediction,
    Prompt,
)

_SMALL_TOKENS = 6.0  # an object is small up to this many tokens along its longer side
_LARGEST_SHARE = 0.5  # the object takes at most this share of the crop's side
_STEPS = 4  # crops begin at every quarter of their side
_SMALLEST_CROP = 32  # pixels
_EXTENT_SIDE = 512  # pixels; the extent of a larger mask is taken from a smaller copy

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """A rectangular part of an image.

    Attributes:
        left, top: the first column and row, pixels of the image.
        width, height: pixels.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def cut(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part of an image, H x W x 3 uint8, that the crop shows."""
        return np.ascontiguousarray(image[self._window])

    def prompt(self, prompt: Prompt) -> Prompt:
        """A prompt in pixels of the crop.

        Negative clicks outside the crop are left out, and so is the mask input, which shows the
        whole image.
        """
        coords = prompt.point_coords - np.array([self.left, self.top], np.float32)
        is_inside = ((coords >= 0) & (coords <= (self.width - 1, self.height - 1))).all(axis=1)
        is_corner = np.isin(prompt.point_labels, (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))
        kept = is_inside | is_corner
        return Prompt(coords[kept], prompt.point_labels[kept])

    def uncrop(self, mask: Mask, original_size: tuple[int, int]) -> Mask:
        """A mask of the crop, h x w, as a mask of the whole image, H x W.

        Args:
            original_size: (H, W) of the image.
        """
        placed = np.zeros(original_size, dtype=np.bool_)
        placed[self._window] = mask
        return placed

    def touches_crop_edge(self, mask: Mask, original_size: tuple[int, int]) -> bool:
        """Whether a mask of the crop reaches an edge beyond which the image goes on.

        The object then may be larger than the crop shows. SAM's mask generator calls this so.

        Args:
            mask: h x w.
            original_size: (H, W) of the image.
        """
        height, width = original_size
        return bool(
            (self.top > 0 and mask[0].any())
            or (self.left > 0 and mask[:, 0].any())
            or (self.top + self.height < height and mask[-1].any())
            or (self.left + self.width < width and mask[:, -1].any())
        )

    @property
    def _window(self) -> tuple[slice, slice]:
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def crop_for(prediction: MaskPrediction, prompt: Prompt, tokens: int) -> Crop | None:
    """The crop in which an object is predicted again.

    Args:
        prediction: the answer to ``prompt`` in the whole image.
        prompt: in pixels of the image.
        tokens: tokens along the side of the network's grid.

    Returns:
        None where the object is large, the mask is empty, or no crop is large enough for the
        object and smaller than the image.
    """
    box = _extent(prediction.mask, prompt)
    height, width = prediction.mask.shape
    longer = max(height, width)
    if box is None:
        return None
    left, top, right, bottom = box
    size = max(right - left, bottom - top) + 1
    if size > _SMALL_TOKENS * longer / tokens:
        return None
    side = longer
    while side // 2 >= max(size / _LARGEST_SHARE, _SMALLEST_CROP):
        side //= 2
    if side == longer:
        return None
    x, crop_width = _placed((left + right) / 2, side, width)
    y, crop_height = _placed((top + bottom) / 2, side, height)
    return Crop(x, y, crop_width, crop_height)


def _extent(mask: Mask, prompt: Prompt) -> Box | None:
    """The box of an object, (x0, y0, x1, y1) in pixels; None where the mask is empty.

    The box that was drawn, or else the box around the mask's main parts and the positive clicks.
    """
    labels = prompt.point_labels
    wanted = prompt.point_coords[np.isin(labels, (FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))]
    if prompt.has_box:
        corners = wanted
    else:
        outer = cv2.boundingRect(mask.view(np.uint8))
        if not outer[2]:
            return None
        left, top, width, height = outer
        # The extent of a large object needs no more pixels than these.
        step = -(-max(width, height) // _EXTENT_SIDE)
        part = np.ascontiguousarray(mask[top : top + height : step, left : left + width : step])
        coords = ((prompt.point_coords - (left, top)) / step).astype(np.float32)
        main = main_parts(part, replace(prompt, point_coords=coords))
        x, y, width, height = (step * side for side in cv2.boundingRect(main.view(np.uint8)))
        first = np.array([left + x, top + y])
        corners = np.concatenate([wanted, [first, first + (width - 1, height - 1)]])
    left, top = corners.min(axis=0)
    right, bottom = corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _placed(centre: float, side: int, length: int) -> tuple[int, int]:
    """Begin and length, along one axis, of the crop whose middle is nearest to ``centre``."""
    if side >= length:
        return 0, length
    step = side / _STEPS
    begin = round(round((centre - side / 2) / step) * step)
    return min(max(begin, 0), length - side), side
