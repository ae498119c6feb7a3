"""Rings: closed lines of straight sides, as polygons are made of.

A ring is N x 2 (x, y) float64, pixels. The first vertex is not repeated at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]


def signed_area(ring: Ring) -> float:
    """Square pixels, above 0 for a ring that runs clockwise on the screen."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def approximated(ring: Ring, tolerance: float) -> Ring:
    """A ring with fewer vertices, after Douglas and Peucker. It may have only one or two.

    Args:
        ring: any.
        tolerance: how far the ring may move, pixels.
    """
    found = cv2.approxPolyDP(ring.astype(np.float32), tolerance, closed=True)
    return found.reshape(-1, 2).astype(np.float64)


def turned_box(ring: Ring) -> Ring:
    """The smallest box around a ring, turned as it must be."""
    return cv2.boxPoints(cv2.minAreaRect(ring.astype(np.float32))).astype(np.float64)


def joined(rings: Sequence[Ring]) -> Ring:
    """Several rings as one: lines of no width lead from each ring to the nearest, and back.

    Therefore a line encloses nothing. A line from a hole to the ring around it crosses no other
    ring. (The lines are a minimum spanning tree, found as Prim's algorithm finds it.)

    Args:
        rings: at least one.
    """
    whole = rings[0]
    ring_of, vertex_of = np.zeros(len(whole), dtype=int), np.arange(len(whole))
    nearest = {index: _bridge(0, whole, rings[index]) for index in range(1, len(rings))}
    while nearest:
        index = min(nearest, key=lambda index: nearest[index][0])
        _, start_ring, start, entry = nearest.pop(index)
        place = int(np.flatnonzero((ring_of == start_ring) & (vertex_of == start))[0])
        order = np.roll(np.arange(len(rings[index])), -entry)
        order = np.append(order, entry)
        whole = np.concatenate([whole[: place + 1], rings[index][order], whole[place:]])
        ring_of = np.concatenate(
            [ring_of[: place + 1], np.full(len(order), index), ring_of[place:]]
        )
        vertex_of = np.concatenate([vertex_of[: place + 1], order, vertex_of[place:]])
        for other, bridge in nearest.items():
            nearest[other] = min(bridge, _bridge(index, rings[index], rings[other]))
    return whole


def winding_numbers(ring: Ring, rows: range, columns: range) -> npt.NDArray[np.int32]:
    """How many times a ring runs around the centre of each pixel, in a window of the image.

    Every side of the ring adds its direction, up or down, to all pixels to the right of the side.

    Args:
        ring: any.
        rows, columns: the window.

    Returns:
        One number for each pixel of the window: 0 outside, above 0 where the ring runs clockwise
        on the screen.
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
    np.add.at(winding, place, np.where(is_down, -1, 1)[side])
    numbers: npt.NDArray[np.int32] = winding.cumsum(axis=1, dtype=np.int32)[:, :-1]
    return numbers


def _bridge(index: int, start: Ring, end: Ring) -> tuple[float, int, int, int]:
    """The shortest line between the vertices of two rings.

    Returns:
        Its squared length, ``index``, and the two vertices.
    """
    lengths, ends = cv2.batchDistance(
        start.astype(np.float32), end.astype(np.float32), cv2.CV_32F, normType=cv2.NORM_L2SQR, K=1
    )
    first = int(lengths.argmin())
    return float(lengths[first, 0]), index, first, int(ends[first, 0])
