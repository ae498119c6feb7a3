"""Polygons with holes, and the masks that they stand for.

Coordinates are continuous: pixel i reaches from i to i + 1, so a mask of all H x W pixels has the
corners (0, 0) and (W, H). A pixel belongs to a polygon where its centre lies within.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ring = npt.NDArray[np.float64]  # N x 2 (x, y) pixels; the first vertex is not repeated at the end


@dataclass(frozen=True)
class Polygon:
    """One part of an object.

    Attributes:
        exterior: N x 2 (x, y) float64, pixels.
        holes: what is cut out of the part, each like ``exterior``.
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()


def fill(polygons: Iterable[Polygon], size: tuple[int, int]) -> Mask:
    """The pixels of all polygons together.

    A ring that crosses itself or runs twice around something is filled as browsers fill such rings
    (the non-zero rule).

    Args:
        polygons: they may reach over the border.
        size: (H, W) of the mask.

    Returns:
        H x W.
    """
    mask = np.zeros(size, dtype=np.bool_)
    for polygon in polygons:
        rows, columns = _window(polygon.exterior, size)
        within = _inside(polygon.exterior, rows, columns)
        for hole in polygon.holes:
            within &= ~_inside(hole, rows, columns)
        mask[rows.start : rows.stop, columns.start : columns.stop] |= within
    return mask


def _window(ring: Ring, size: tuple[int, int]) -> tuple[range, range]:
    """The rows and the columns that a ring can reach."""
    first = np.clip(np.floor(ring.min(axis=0)), 0, size[::-1]).astype(int)
    end = np.clip(np.ceil(ring.max(axis=0)), first, size[::-1]).astype(int)
    return range(first[1], end[1]), range(first[0], end[0])


def _inside(ring: Ring, rows: range, columns: range) -> Mask:
    """The pixels around which a ring runs, in a window of the image.

    Every side of the ring adds its direction, up or down, to all pixels to the right of the side.
    The sums are the winding numbers.
    """
    x, y = ring[:, 0] - columns.start - 0.5, ring[:, 1] - rows.start - 0.5
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    is_down = next_y > y
    top_x, top_y = np.where(is_down, x, next_x), np.minimum(y, next_y)
    low_x, low_y = np.where(is_down, next_x, x), np.maximum(y, next_y)
    # The centres of rows that a side passes: top_y <= row < low_y.
    first = np.clip(np.ceil(top_y), 0, len(rows)).astype(int)
    counts = np.clip(np.ceil(low_y), 0, len(rows)).astype(int) - first
    side = np.repeat(np.arange(len(ring)), counts)
    row = np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    slope = (low_x - top_x)[side] / (low_y - top_y)[side]
    column = np.ceil(top_x[side] + (row - top_y[side]) * slope)
    winding = np.zeros((len(rows), len(columns) + 1), dtype=np.int32)
    place = (row, np.clip(column, 0, len(columns)).astype(int))
    np.add.at(winding, place, np.where(is_down, 1, -1)[side])
    return np.asarray(winding.cumsum(axis=1)[:, :-1] != 0)
