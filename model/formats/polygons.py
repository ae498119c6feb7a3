"""Polygons with holes, and the masks that they stand for.

Coordinates are continuous: pixel i reaches from i to i + 1, so a mask of all H x W pixels has the
corners (0, 0) and (W, H). A pixel belongs to a polygon where its centre lies within.

Seen on the screen, the rings that :func:`trace` finds run clockwise around a part and the other way
round around a hole. Whichever rule fills them (even-odd or non-zero), holes stay open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.cleanup import box_around
from model.formats.rings import Ring, approximated, signed_area, turned_box, winding_numbers

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Polygon:
    """One part of an object.

    Attributes:
        exterior: N x 2 (x, y) float64, pixels.
        holes: what is cut out of the part, each like ``exterior``.
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()


def trace(mask: Mask, tolerance: float = 0.0) -> list[Polygon]:
    """The separate parts of a mask with their holes, the largest part first.

    Pixels that touch at a corner belong to the same part, and the ring touches itself there.

    Args:
        mask: H x W, True on the object.
        tolerance: how far rings may be from the mask's edge, pixels (:func:`simplified`). With 0
            they run along the edges of pixels, and :func:`fill` gives the mask back.
    """
    box = box_around(mask)
    if box is None:
        return []
    x0, y0, width, height = box
    window = mask[y0 : y0 + height, x0 : x0 + width]
    exteriors: list[Ring] = []
    holes: list[Ring] = []
    for ring in _rings(window):
        (exteriors if signed_area(ring) > 0 else holes).append(ring)
    holes_of: dict[int, list[Ring]] = {}
    _, parts = cv2.connectedComponents(window.view(np.uint8), connectivity=8)
    for hole in holes:  # the first vertex of a ring is its upper left corner
        x, y = hole[0].astype(int)
        holes_of.setdefault(int(parts[y - 1, x]), []).append(hole)
    polygons = []
    for exterior in sorted(exteriors, key=signed_area, reverse=True):
        x, y = exterior[0].astype(int)
        found = holes_of.get(int(parts[y, x]), [])
        polygon = Polygon(exterior + (x0, y0), tuple(hole + (x0, y0) for hole in found))
        polygons.append(simplified(polygon, tolerance))
    return polygons


def simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """A polygon of :func:`trace` with fewer vertices.

    Args:
        polygon: its rings run along the edges of pixels.
        tolerance: how far the rings may move, pixels. A part that is thinner becomes a turned box.
            Holes smaller than a square of twice the tolerance are filled.
    """
    if tolerance <= 0:
        return polygon
    exterior = approximated(_without_steps(polygon.exterior), tolerance)
    holes = [hole for hole in polygon.holes if abs(signed_area(hole)) >= (2 * tolerance) ** 2]
    approximations = [approximated(_without_steps(hole), tolerance) for hole in holes]
    return Polygon(
        exterior if len(exterior) > 2 else turned_box(polygon.exterior),
        tuple(hole for hole in approximations if len(hole) > 2),
    )


def _without_steps(ring: Ring) -> Ring:
    """A ring of :func:`trace` that cuts off each corner where the object bends inwards.

    Thereby a slanting edge has smaller steps, and needs fewer vertices.
    """
    before = np.sign(ring - np.roll(ring, 1, axis=0))
    after = np.roll(before, -1, axis=0)
    bends_inwards = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] < 0
    ends = np.stack([ring - before / 2, ring + after / 2], axis=1)
    ends[~bends_inwards] = ring[~bends_inwards, None]
    return ends.reshape(-1, 2)


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
        within = winding_numbers(polygon.exterior, rows, columns) != 0
        for hole in polygon.holes:
            within &= winding_numbers(hole, rows, columns) == 0
        mask[rows.start : rows.stop, columns.start : columns.stop] |= within
    return mask


def _rings(mask: Mask) -> Iterator[Ring]:
    """The rings along the edges of a mask's pixels, each from its upper left corner on.

    Sorted along the rows, corners are the ends of horizontal edges by turns: the first and the
    second, the third and the fourth. Sorted along the columns they are those of vertical edges.
    """
    corners, starts_part = _corners(mask)
    x, y, is_lower = corners.T
    along_columns = np.lexsort((is_lower, y, x))
    vertical = np.empty(len(corners), dtype=int)
    vertical[along_columns] = along_columns.reshape(-1, 2)[:, ::-1].reshape(-1)
    next_of, remaining = vertical.tolist(), bytearray(b"\1") * len(corners)
    for first in range(len(corners)):
        ring, corner = [], first
        while remaining[corner]:
            opposite = corner ^ 1  # the other end of the horizontal edge
            ring += [corner, opposite]
            remaining[corner] = remaining[opposite] = 0
            corner = next_of[opposite]
        if ring:
            # The first edge leads to the right, so that all rings are clockwise so far.
            order = ring if starts_part[first] else [first, *ring[:0:-1]]
            yield corners[order, :2].astype(np.float64)


def _corners(mask: Mask) -> tuple[npt.NDArray[np.int64], Mask]:
    """The corners of all rings along the rows, and whether the pixel below on the right is set.

    Each is (x, y, 1 where the vertical edge leads downwards and two corners are at one place).
    """
    padded = np.pad(mask, 1)
    is_edge = padded[:, :-1] ^ padded[:, 1:]  # to the left of this pixel there is a vertical edge
    is_corner = is_edge[:-1] ^ is_edge[1:]
    # Where only diagonal neighbours are equal there are two corners.
    is_double = is_edge[:-1] & is_edge[1:]
    is_double &= padded[:-1, :-1] ^ padded[1:, :-1]
    y, x = np.divmod(np.flatnonzero(is_corner | is_double), is_corner.shape[1])
    copies = 1 + is_double[y, x]
    y, x = np.repeat(y, copies), np.repeat(x, copies)
    # The first of two corners is the end of the edge from the left. From there the ring goes
    # around the pixel that is not set, so that both pixels that are set lie in the same ring.
    is_second = np.append(False, (y[1:] == y[:-1]) & (x[1:] == x[:-1]))
    is_lower = is_second ^ (is_double[y, x] & padded[y, x])
    return np.stack([x, y, is_lower], axis=1), padded[y + 1, x + 1]


def _window(ring: Ring, size: tuple[int, int]) -> tuple[range, range]:
    """The rows and the columns that a ring can reach."""
    first = np.clip(np.floor(ring.min(axis=0)), 0, size[::-1]).astype(int)
    end = np.clip(np.ceil(ring.max(axis=0)), first, size[::-1]).astype(int)
    return range(first[1], end[1]), range(first[0], end[0])
