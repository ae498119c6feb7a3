"""A second look at small objects: a tile of the image, encoded by itself, shows them larger.

The network sees an image as a grid of tokens, and of an object that covers only a few of them it
makes out little. The tiles of an image are a fixed set, squares of a half, a quarter, an eighth
... of its longer side that overlap: so further clicks on an object and its neighbours find the
embedding of their tile already there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from model.mask_cleanup import main_parts
from model.types import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    ImageEmbedding,
    MaskPrediction,
    Prompt,
)

_SMALL_TOKENS = 6.0  # objects up to this size, along their longer side
_LARGEST_SHARE = 0.5  # of a tile's side that the object may take
_STEPS = 4  # tiles begin at every quarter of their side
_SMALLEST_TILE = 32  # pixels
_EXTENT_SIDE = 512  # pixels of a mask, of which the extent is taken

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tile:
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def cut(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part of an image, H x W x 3, that the tile shows."""
        return np.ascontiguousarray(image[self._window])

    def prompt(self, prompt: Prompt) -> Prompt:
        """A prompt in pixels of the tile, without what does not fit in there.

        That is negative clicks beside it, and the mask input, which shows the whole image.
        """
        coords = prompt.point_coords - np.array([self.left, self.top], np.float32)
        is_inside = ((coords >= 0) & (coords <= (self.width - 1, self.height - 1))).all(axis=1)
        is_corner = np.isin(prompt.point_labels, (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))
        kept = is_inside | is_corner
        return Prompt(coords[kept], prompt.point_labels[kept])

    def place(self, mask: Mask, original_size: tuple[int, int]) -> Mask:
        """A mask of the tile as one of the whole image, (H, W)."""
        placed = np.zeros(original_size, dtype=np.bool_)
        placed[self._window] = mask
        return placed

    def cuts(self, mask: Mask, original_size: tuple[int, int]) -> bool:
        """Whether a mask of the tile reaches a border where the image goes on."""
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


# Gives the embedding of a tile; None where it cannot be had.
Look = Callable[[Tile], ImageEmbedding | None]


def tile_for(first: MaskPrediction, prompt: Prompt, tokens: int) -> Tile | None:
    """The tile for a second look at an object.

    Args:
        first: the answer to ``prompt`` in the whole image.
        prompt: in pixels of the image.
        tokens: along the side of the network's grid.

    Returns:
        None where the object is large enough, nothing was found, or no tile holds it well.
    """
    box = _extent(first.mask, prompt)
    height, width = first.mask.shape
    longer = max(height, width)
    if box is None:
        return None
    left, top, right, bottom = box
    size = max(right - left, bottom - top) + 1
    if size > _SMALL_TOKENS * longer / tokens:
        return None
    side = longer
    while side // 2 >= max(size / _LARGEST_SHARE, _SMALLEST_TILE):
        side //= 2
    if side == longer:
        return None
    x, tile_width = _placed((left + right) / 2, side, width)
    y, tile_height = _placed((top + bottom) / 2, side, height)
    return Tile(x, y, tile_width, tile_height)


def _extent(mask: Mask, prompt: Prompt) -> Box | None:
    """The box around an object: the one that was drawn, or that of the mask and the clicks on it.

    None where the mask is empty.
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
        # a large object need not be seen in every pixel
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
    """Where the tile begins whose middle is nearest, and how long it is, along one axis."""
    if side >= length:
        return 0, length
    step = side / _STEPS
    begin = round(round((centre - side / 2) / step) * step)
    return min(max(begin, 0), length - side), side
