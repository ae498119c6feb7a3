"""Crops of an image for small objects.

The network sees an image as a grid of tokens. An object that covers only a few tokens gets a coarse
mask. A crop is encoded as an image of its own, so it shows the object larger.

The crops of an image are a fixed set of overlapping squares. Their sides are a half, a quarter, an
eighth and so on of the longer side of the image. So the next click on an object needs the same
crop, and often a click on a neighbour does too. The embedding of that crop is then in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from model.cleanup import box_around, main_parts
from model.types import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    MaskPrediction,
    Prompt,
)

_SMALL_TOKENS = 6.0  # an object is small if its longer side has at most this many tokens
_LARGEST_SHARE = 0.5  # the object's longer side is at most this share of the crop's side
_STEPS = 4  # crops begin at multiples of a quarter of their side
_SMALLEST_CROP = 32  # pixels
_EXTENT_SIDE = 512  # pixels; a larger mask is shrunk before its extent is measured

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """A rectangular part of an image.

    Attributes:
        left, top: the first column and the first row, in pixels of the image.
        width, height: the size, in pixels.
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
        """Cut the crop, h x w x 3 uint8, out of an image, H x W x 3 uint8."""
        return np.ascontiguousarray(image[self._window])

    def prompt(self, prompt: Prompt) -> Prompt:
        """Convert a prompt from pixels of the image to pixels of the crop.

        Clicks outside the crop are left out. The mask input is left out too, because it shows the
        whole image.
        """
        coords = prompt.point_coords - np.array([self.left, self.top], np.float32)
        is_inside = ((coords >= 0) & (coords <= (self.width - 1, self.height - 1))).all(axis=1)
        is_corner = np.isin(prompt.point_labels, (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))
        kept = is_inside | is_corner
        return Prompt(coords[kept], prompt.point_labels[kept])

    def uncrop(self, mask: Mask, original_size: tuple[int, int]) -> Mask:
        """Convert a mask of the crop to a mask of the whole image.

        Args:
            mask: h x w, the size of the crop.
            original_size: (H, W) of the image.

        Returns:
            H x W, False outside the crop.
        """
        placed = np.zeros(original_size, dtype=np.bool_)
        placed[self._window] = mask
        return placed

    def touches_crop_edge(self, mask: Mask, original_size: tuple[int, int]) -> bool:
        """Whether a mask reaches an edge of the crop that is no edge of the image.

        The object may then be larger than the crop shows. SAM's mask generator has a similar test
        (``is_box_near_crop_edge`` in segment_anything/utils/amg.py).

        Args:
            mask: h x w, the size of the crop.
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
    """Choose the crop in which an object is predicted again.

    Args:
        prediction: the answer to ``prompt`` in the whole image.
        prompt: in pixels of the image.
        tokens: the number of tokens along the side of the network's grid.

    Returns:
        The crop, or None. None means that the object is large, that the mask is empty, or that no
        crop is both large enough for the object and smaller than the image.
    """
    box = _extent(prediction.mask, prompt)
    height, width = prediction.mask.shape
    longer = max(height, width)
    if box is None:
        return None
    side = _side(box, longer, tokens)
    if side is None:
        return None
    left, top, right, bottom = box
    x, crop_width = _placed((left + right) / 2, side, width)
    y, crop_height = _placed((top + bottom) / 2, side, height)
    return Crop(x, y, crop_width, crop_height)


def shared_crops(
    prompts: Sequence[Prompt], original_size: tuple[int, int], tokens: int
) -> list[Crop | None]:
    """Choose crops for many boxes, so that few crops are encoded.

    The crops are as large as those of :func:`crop_for`. A box need not be in the middle of its
    crop: there is room around it, as much as :func:`crop_for` leaves at worst.

    Args:
        prompts: boxes, in pixels of the image.
        original_size: (H, W) of the image.
        tokens: the number of tokens along the side of the network's grid.

    Returns:
        For each box the crop, or None where :func:`crop_for` gives none.
    """
    height, width = original_size
    chosen: list[Crop | None] = [None] * len(prompts)
    fitting: dict[Crop, set[int]] = {}
    for index, prompt in enumerate(prompts):
        box = _corners(prompt.point_coords)
        side = _side(box, max(height, width), tokens)
        if side is not None:
            for x, crop_width in _places(box[0], box[2], side, width):
                for y, crop_height in _places(box[1], box[3], side, height):
                    fitting.setdefault(Crop(x, y, crop_width, crop_height), set()).add(index)
    while fitting:
        # The crop of most boxes, again and again.
        crop = max(fitting, key=lambda crop: len(fitting[crop]))
        indices = fitting.pop(crop)
        for index in indices:
            chosen[index] = crop
        fitting = {other: rest for other, of in fitting.items() if (rest := of - indices)}
    return chosen


def _side(box: Box, longer: int, tokens: int) -> int | None:
    """The side of the crop for an object, pixels; None for a large object."""
    left, top, right, bottom = box
    size = max(right - left, bottom - top) + 1
    if size > _SMALL_TOKENS * longer / tokens:
        return None
    side = longer
    while side // 2 >= max(size / _LARGEST_SHARE, _SMALLEST_CROP):
        side //= 2
    return None if side == longer else side


def _extent(mask: Mask, prompt: Prompt) -> Box | None:
    """The box around an object, (x0, y0, x1, y1) in pixels, or None where the mask is empty.

    If the annotator drew a box, it is that box. Otherwise it is the box around the positive clicks
    and the main parts of the mask.
    """
    labels = prompt.point_labels
    wanted = prompt.point_coords[np.isin(labels, (FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))]
    if prompt.has_box:
        corners = wanted
    else:
        outer = box_around(mask)
        if outer is None:
            return None
        left, top, width, height = outer
        # A smaller copy is exact enough to tell a small object from a large one.
        step = -(-max(width, height) // _EXTENT_SIDE)
        part = np.ascontiguousarray(mask[top : top + height : step, left : left + width : step])
        coords = ((prompt.point_coords - (left, top)) / step).astype(np.float32)
        main = main_parts(part, replace(prompt, point_coords=coords))
        x, y, width, height = (step * side for side in cv2.boundingRect(main.view(np.uint8)))
        first = np.array([left + x, top + y])
        corners = np.concatenate([wanted, [first, first + (width - 1, height - 1)]])
    return _corners(corners)


def _corners(coords: npt.NDArray[np.float32]) -> Box:
    """The box around points, N x 2."""
    left, top = coords.min(axis=0)
    right, bottom = coords.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _places(low: float, high: float, side: int, length: int) -> list[tuple[int, int]]:
    """Along one axis: begin and length of every crop with room around an object.

    The room is half a step, or ends at the edge of the image. The crop whose middle is nearest
    always counts.
    """
    nearest = _placed((low + high) / 2, side, length)
    if side >= length:
        return [nearest]
    step = side / _STEPS
    found = {nearest}
    for number in range(int((high - side) // step), int(low // step) + 2):
        begin = min(max(round(number * step), 0), length - side)
        has_room = (begin == 0 or low - begin >= step / 2) and (
            begin == length - side or begin + side - 1 - high >= step / 2
        )
        if has_room and begin <= low and high <= begin + side - 1:
            found.add((begin, side))
    return sorted(found)


def _placed(centre: float, side: int, length: int) -> tuple[int, int]:
    """Along one axis: begin and length of the crop whose middle is nearest to ``centre``."""
    if side >= length:
        return 0, length
    step = side / _STEPS
    begin = round(round((centre - side / 2) / step) * step)
    return min(max(begin, 0), length - side), side
