"""Masks as PNG files: one picture of all classes, or one picture for each object."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.formats.polygons import Mask

MAX_CLASSES = 255


def class_map(
    masks: Sequence[Mask], classes: Sequence[int], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """The class of each pixel. Where objects overlap, the smallest lies on top.

    Args:
        masks: H x W each.
        classes: the class of each mask, 1 to :data:`MAX_CLASSES`; 0 is the background.
        size: (H, W).

    Returns:
        H x W.
    """
    indices = np.zeros(size, dtype=np.uint8)
    areas = [np.count_nonzero(mask) for mask in masks]
    for index in sorted(range(len(masks)), key=lambda index: -areas[index]):
        paint(indices, masks[index], classes[index])
    return indices


def paint(indices: npt.NDArray[np.uint8], mask: Mask, class_index: int) -> int:
    """Lay an object on top of what a map of classes has.

    Args:
        indices: H x W, changed in place.
        mask: H x W.
        class_index: 1 to :data:`MAX_CLASSES`.

    Returns:
        The number of pixels of other classes that are hidden now.
    """
    below = indices[mask]
    indices[mask] = class_index
    return int(np.count_nonzero((below != 0) & (below != class_index)))


def encode_index_png(indices: npt.NDArray[np.uint8]) -> bytes:
    """A PNG whose pixel values are the indices, H x W, and whose palette tells them apart."""
    picture = Image.fromarray(indices, "P")
    picture.putpalette(palette().tobytes())
    return _png(picture)


def encode_mask(mask: Mask) -> bytes:
    """A PNG of one mask, H x W: 255 on the object, 0 elsewhere, one channel."""
    return _png(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))


def palette() -> npt.NDArray[np.uint8]:
    """The colours of Pascal VOC's segmentation pictures, 256 x 3; index 0 is black.

    The bits of an index, taken three at a time, become the bits of the three channels, the highest
    bit first.
    """
    index = np.arange(256)[:, None] >> np.arange(3)  # one column for each channel
    bits = index[..., None] >> 3 * np.arange(8) & 1
    colors: npt.NDArray[np.uint8] = (bits << 7 - np.arange(8)).sum(axis=2).astype(np.uint8)
    return colors


def _png(picture: Image.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
