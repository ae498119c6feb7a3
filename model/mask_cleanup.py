"""Brings a mask in line with the clicks it was asked for: no network, only what was clicked.

A network mostly does as it is told, and where it does not the annotator is right.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.types import BACKGROUND, FOREGROUND, Prompt

# The network draws on a grid of 256 cells along the longer side. What is smaller than a few cells
# and than a fraction of the object is its noise; anything larger may be a real part or hole.
_CELLS_ACROSS = 256
_SPECK_CELLS = 16
_SPECK_FRACTION = 0.02
# How far a click reaches that the mask contradicts and that no component decides.
_REACH_FRACTION = 0.01

# For shapes that a single far-off part would spoil.
_MAIN_FRACTION = 0.1

Mask = npt.NDArray[np.bool_]
Pixel = tuple[int, int]


def settle(mask: Mask, prompt: Prompt) -> Mask:
    """Decide on whole parts and whole holes of a mask: by the clicks, and without them by size.

    A part of the mask with negative clicks and no positive one goes, but for the largest part where
    a box says what is wanted; a hole with positive clicks and no negative one is filled. Then parts
    and holes go that are both smaller than 16 cells of the network's grid and than 2 % of the
    largest part, unless a click is in them.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask. Of two opposite clicks on one pixel the later one counts.

    Returns:
        H x W, a new array.
    """
    if not mask.any():
        return mask.copy()
    positive, negative = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    y0, y1, x0, x1 = _around(mask)
    # A border of background makes everything outside one component: what is not it is a hole.
    inner = np.pad(mask[y0:y1, x0:x1], 1).astype(np.uint8)
    _settle(
        inner,
        _shifted(positive, y0, x0, inner),
        _shifted(negative, y0, x0, inner),
        mask,
        keep_largest=prompt.has_box,
    )
    settled = np.zeros_like(mask)
    settled[y0:y1, x0:x1] = inner[1:-1, 1:-1]
    return settled


def honour(mask: Mask, prompt: Prompt) -> None:
    """Make a mask hold every positive click and no negative one, in place.

    A click that the mask contradicts takes a small disc around it, which stops half-way to a click
    of the other sign.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask. Of two opposite clicks on one pixel the later one counts.
    """
    positive, negative = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    reach = max(1.0, _REACH_FRACTION * max(mask.shape))
    for clicks, others, value in ((positive, negative, True), (negative, positive, False)):
        for y, x in clicks:
            if mask[y, x] == value:
                continue
            nearest = min((np.hypot(y - v, x - u) for v, u in others), default=np.inf)
            _draw_disc(mask, (y, x), min(reach, nearest / 2.001), value)


def main_parts(mask: Mask, prompt: Prompt) -> Mask:
    """The parts of a mask that hold a positive click or a tenth of the largest part's area.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask.

    Returns:
        H x W; empty only where ``mask`` is.
    """
    areas, part_of = _components(mask.view(np.uint8), connectivity=8)
    positive, _ = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    least = _MAIN_FRACTION * max(areas[1:], default=0)
    clicked = _under(part_of, positive)
    main = [part for part in range(1, len(areas)) if areas[part] >= least or part in clicked]
    return _pixels_of(part_of, main, len(areas))


def _settle(
    inner: npt.NDArray[np.uint8],
    positive: list[Pixel],
    negative: list[Pixel],
    mask: Mask,
    *,
    keep_largest: bool,
) -> None:
    """Decide on whole parts, then on whole holes; 1 and 0 in ``inner``, changed in place."""
    limit = _SPECK_CELLS * (max(mask.shape) / _CELLS_ACROSS) ** 2
    parts, part_of = _components(inner, connectivity=8)
    largest = max(parts[1:], default=0)
    limit = min(limit, _SPECK_FRACTION * largest)
    wanted, unwanted = _under(part_of, positive), _under(part_of, negative)
    if keep_largest:
        wanted.add(parts.index(largest, 1))
    gone = [
        part
        for part in range(1, len(parts))
        if part not in wanted and (part in unwanted or parts[part] < limit)
    ]
    if gone:
        inner[_pixels_of(part_of, gone, len(parts))] = 0
    holes, hole_of = _components(1 - inner, connectivity=4)
    outside = hole_of[0, 0]
    wanted, unwanted = _under(hole_of, positive), _under(hole_of, negative)
    filled = [
        hole
        for hole in range(1, len(holes))
        if hole != outside and hole not in unwanted and (hole in wanted or holes[hole] < limit)
    ]
    if filled:
        inner[_pixels_of(hole_of, filled, len(holes))] = 1


def _draw_disc(mask: Mask, centre: Pixel, radius: float, value: bool) -> None:
    y, x = centre
    whole = int(radius)
    top, left = max(y - whole, 0), max(x - whole, 0)
    window = mask[top : y + whole + 1, left : x + whole + 1]
    rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
    window[(rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius**2] = value


def _clicked_pixels(prompt: Prompt, size: tuple[int, int]) -> tuple[list[Pixel], list[Pixel]]:
    """The pixels (y, x) of the positive and of the negative clicks."""
    last = np.array([size[1] - 1, size[0] - 1])
    pixels = np.clip(np.floor(prompt.point_coords + 0.5), 0, last).astype(int)
    signs: dict[Pixel, int] = {}
    for (x, y), label in zip(pixels.tolist(), prompt.point_labels.tolist(), strict=True):
        if label in (FOREGROUND, BACKGROUND):
            signs[y, x] = label
    return (
        [pixel for pixel, sign in signs.items() if sign == FOREGROUND],
        [pixel for pixel, sign in signs.items() if sign == BACKGROUND],
    )


def _around(mask: Mask) -> tuple[int, int, int, int]:
    """The first and the end row and column of what is set."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return y, y + height, x, x + width


def _shifted(pixels: list[Pixel], y0: int, x0: int, inner: npt.NDArray[np.uint8]) -> list[Pixel]:
    """Pixels in the frame of the part of the mask that is looked at, border included."""
    height, width = inner.shape
    moved = [(y - y0 + 1, x - x0 + 1) for y, x in pixels]
    return [(y, x) for y, x in moved if 0 <= y < height and 0 <= x < width]


def _components(
    image: npt.NDArray[np.uint8], *, connectivity: int
) -> tuple[list[int], npt.NDArray[np.int32]]:
    """Areas by component, 0 being where the image is 0; and the component of each pixel."""
    # Boxes and centroids, which OpenCV would count along with the areas, take most of its time.
    _, labels = cv2.connectedComponents(image, connectivity=connectivity)
    component_of: npt.NDArray[np.int32] = labels.astype(np.int32, copy=False)
    return np.bincount(component_of.reshape(-1)).tolist(), component_of


def _under(component_of: npt.NDArray[np.int32], pixels: list[Pixel]) -> set[int]:
    return {int(component_of[pixel]) for pixel in pixels}


def _pixels_of(component_of: npt.NDArray[np.int32], chosen: list[int], count: int) -> Mask:
    """The pixels of the chosen ones of ``count`` components."""
    is_chosen = np.zeros(count, dtype=bool)
    is_chosen[chosen] = True
    return is_chosen[component_of]
