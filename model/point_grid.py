"""Where everything is looked for: the points of an image, and crops for small objects.

After SAM's ``build_point_grid`` and ``generate_crop_boxes`` (segment_anything/utils/amg.py).
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from model.crops import Crop

# Neighbouring crops share this part of the shorter side of the image, as in SAM.
_CROP_OVERLAP = 512 / 1500

Points = npt.NDArray[np.float32]


def point_grid(points_per_side: int, original_size: tuple[int, int]) -> tuple[Points, Points]:
    """The points of a grid, each in the middle of its cell.

    An axis has no more points than pixels.

    Args:
        points_per_side: points along each axis.
        original_size: (H, W) of the image.

    Returns:
        Every second point of every second row, and all other points: N x 2, (x, y) in pixels.
    """
    height, width = original_size
    columns, rows = min(points_per_side, width), min(points_per_side, height)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    coords = np.stack([(x + 0.5) / columns * width, (y + 0.5) / rows * height], axis=-1)
    is_coarse = (x % 2 == 0) & (y % 2 == 0)
    return coords[is_coarse].astype(np.float32), coords[~is_coarse].astype(np.float32)


def crops_of(original_size: tuple[int, int], layers: int) -> list[Crop]:
    """Overlapping crops that cover an image, the largest first.

    Args:
        original_size: (H, W) of the image, pixels.
        layers: layer n, from 1 on, has 2^n x 2^n crops. A small image has fewer.
    """
    crops = []
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(_CROP_OVERLAP * min(original_size) * 2 / count)
        (tops, height), (lefts, width) = (_cuts(side, count, overlap) for side in original_size)
        crops += [Crop(left, top, width, height) for top, left in itertools.product(tops, lefts)]
    return crops


def _cuts(side: int, count: int, overlap: int) -> tuple[list[int], int]:
    """Where the crops along one axis begin, and their length."""
    length = min(side, -(-(overlap * (count - 1) + side) // count))
    begins = [min(index * (length - overlap), side - length) for index in range(count)]
    return sorted(set(begins)), length
