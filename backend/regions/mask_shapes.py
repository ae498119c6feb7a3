"""The shapes of a mask: polygons, the bounding box, an ellipse.

Coordinates are continuous: pixel i reaches from i to i + 1, so a mask of all H x W pixels has the
corners (0, 0) and (W, H). A filled polygon is the mask again, within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.formats.polygons import Mask, Polygon, simplified, trace
from model.formats.rings import Ring, joined

_COARSER = 1.4  # the factor of the tolerance while a ring has too many vertices


@dataclass(frozen=True)
class Ellipse:
    """An ellipse.

    Attributes:
        center: (x, y), pixels.
        radii: the longer radius and the shorter radius, pixels.
        rotation: the angle from the x axis to the longer radius, degrees clockwise on the screen,
            0 to 180.
    """

    center: tuple[float, float]
    radii: tuple[float, float]
    rotation: float


def polygons(mask: Mask, tolerance: float, max_vertices: int) -> list[Ring]:
    """One closed ring for each part of a mask, the largest first.

    A ring has no holes. Therefore each hole is cut open: the ring goes along a bridge of no width
    to the hole, around the hole, and back. Whichever rule fills the ring (even-odd or non-zero),
    the hole stays open. Holes smaller than a square of twice the tolerance are filled.

    Args:
        mask: H x W, True on the object.
        tolerance: how far the ring may be from the mask's edge, pixels.
        max_vertices: of one ring, 4 or more. The tolerance grows until the ring has no more, and
            holes that are too small for the tolerance are filled.

    Returns:
        Rings, N x 2 (x, y); the first vertex is not repeated at the end.
    """
    return [_with_few_vertices(polygon, tolerance, max_vertices) for polygon in trace(mask)]


def bounding_box(mask: Mask) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the box around a mask that is not empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return float(x), float(y), float(width), float(height)


def ellipse(mask: Mask) -> Ellipse:
    """The ellipse with the centre and the second moments of a mask that is not empty."""
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    # A single pixel has a width, and its second moment is 1/12.
    xx, yy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12
    xy = moments["mu11"] / area
    (shorter, longer), axes = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180
    return Ellipse(
        (moments["m10"] / area + 0.5, moments["m01"] / area + 0.5),
        (float(2 * np.sqrt(longer)), float(2 * np.sqrt(shorter))),
        float(angle),
    )


def _with_few_vertices(polygon: Polygon, tolerance: float, max_vertices: int) -> Ring:
    """One ring of a part and its holes."""
    while True:
        simple = simplified(polygon, tolerance)
        ring = joined([simple.exterior, *simple.holes])
        if len(ring) <= max_vertices:
            return ring
        tolerance = max(tolerance, 0.25) * _COARSER
