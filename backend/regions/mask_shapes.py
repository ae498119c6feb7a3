"""The shapes of a mask: polygons, the bounding box, an ellipse.

Coordinates are continuous: pixel i reaches from i to i + 1, so a mask of all H x W pixels has the
corners (0, 0) and (W, H). A filled polygon is the mask again, within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_COARSER = 1.4  # the factor of the tolerance while a ring has too many vertices

Mask = npt.NDArray[np.bool_]
Ring = npt.NDArray[np.float64]
Contour = npt.NDArray[Any]  # N x 1 x 2 (x, y) int, as cv2 has them


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
    if not mask.any():
        return []
    x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
    # Twice as fine, with a sample on every edge between pixels. So contours run along the edges
    # of pixels; those of cv2 run through the centres of the outermost pixels.
    fine = np.zeros((2 * height + 1, 2 * width + 1), dtype=np.uint8)
    fine[1::2, 1::2] = mask[y0 : y0 + height, x0 : x0 + width]
    contours, hierarchy = cv2.findContours(
        cv2.dilate(fine, np.ones((3, 3), dtype=np.uint8)), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    outer = [index for index in range(len(contours)) if hierarchy[0, index, 3] < 0]
    rings = []
    for index in sorted(outer, key=lambda index: -cv2.contourArea(contours[index])):
        holes = [c for c, links in zip(contours, hierarchy[0], strict=True) if links[3] == index]
        ring = _simplified(contours[index], holes, tolerance, max_vertices)
        rings.append(ring / 2 + (x0, y0))
    return rings


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


def _simplified(
    contour: Contour,
    holes: list[Contour],
    tolerance: float,
    max_vertices: int,
) -> Ring:
    """One ring of a part and its holes, in half pixels, with few enough vertices."""
    while True:
        smallest_hole = (2 * 2 * tolerance) ** 2
        rings = [
            _approximated(hole, tolerance)
            for hole in holes
            if cv2.contourArea(hole) >= smallest_hole
        ]
        ring = _with_bridges(
            _approximated(contour, tolerance), [hole for hole in rings if len(hole) > 2]
        )
        if len(ring) <= max_vertices:
            return ring if len(ring) > 2 else _thin(contour)
        tolerance = max(tolerance, 0.25) * _COARSER


def _approximated(contour: Contour, tolerance: float) -> Ring:
    approximated = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    return approximated[:, 0].astype(np.float64)


def _thin(contour: Contour) -> Ring:
    """A turned box around a part that is thinner than the tolerance."""
    return cv2.boxPoints(cv2.minAreaRect(contour)).astype(np.float64)


def _with_bridges(ring: Ring, holes: list[Ring]) -> Ring:
    """Join holes to the ring around them, nearest first.

    The ring goes along a bridge in both directions. So a bridge encloses nothing, whatever it
    crosses.
    """
    remaining = list(holes)
    while remaining:
        distances = [np.square(ring[:, None] - hole[None]).sum(axis=2) for hole in remaining]
        chosen = int(np.argmin([distance.min() for distance in distances]))
        start, entry = np.unravel_index(distances[chosen].argmin(), distances[chosen].shape)
        hole = np.roll(remaining.pop(chosen), -int(entry), axis=0)
        ring = np.concatenate([ring[: start + 1], hole, hole[:1], ring[start:]])
    return ring
