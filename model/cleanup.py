"""Corrects a mask so that it agrees with its clicks. The network is not used.

Where the mask and a click disagree, the click is right: the annotator sees the object.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.types import BACKGROUND, FOREGROUND, Prompt

# A part or a hole may be noise if its area is below this fraction of the largest part's area.
_SMALL_FRACTION = 0.02
# The radius of the disc around a click that the mask contradicts, as a fraction of the longer side.
_REACH_FRACTION = 0.01

# A part is a main part if its area is at least this fraction of the largest part's area. A smaller
# part would spoil a shape such as a box around the mask.
_MAIN_FRACTION = 0.1

Mask = npt.NDArray[np.bool_]
Pixel = tuple[int, int]


def remove_small_regions(mask: Mask, prompt: Prompt, area_thresh: float) -> Mask:
    """Remove parts of a mask and fill holes, each as a whole.

    A part is removed if it holds a negative click and no positive click. If the prompt has a box,
    the largest part is never removed. A hole is filled if it holds a positive click and no negative
    click. Small parts without a click are removed. Small holes without a click are filled.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask. Of two opposite clicks on one pixel, the later click counts.
        area_thresh: pixels. A part or hole is small if its area is below this number and below 2 %
            of the area of the largest part.

    Returns:
        H x W, a new array.
    """
    if not mask.any():
        return mask.copy()
    positive, negative = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    # A border of background joins everything outside the object. All other background is holes.
    inner = np.pad(mask[window], 1).astype(np.uint8)
    positive, negative = (_shifted(clicks, y, x, inner) for clicks in (positive, negative))
    area_thresh = _decide_on_parts(
        inner, positive, negative, area_thresh, keep_largest=prompt.has_box
    )
    _decide_on_holes(inner, positive, negative, area_thresh)
    cleaned = np.zeros_like(mask)
    cleaned[window] = inner[1:-1, 1:-1]
    return cleaned


def enforce_clicks(mask: Mask, prompt: Prompt) -> None:
    """Change a mask in place so that it holds every positive click and no negative click.

    Where the mask contradicts a click, a small disc around the click is added or removed. The disc
    ends before the middle between the click and the nearest click of the other sign.

    Args:
        mask: H x W, True on the object. It is changed.
        prompt: in pixels of the mask. Of two opposite clicks on one pixel, the later click counts.
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
    """The main parts of a mask.

    A main part holds a positive click, or has at least a tenth of the largest part's area.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask.

    Returns:
        H x W, a new array. It is empty only if ``mask`` is empty.
    """
    areas, part_of = _components(mask.view(np.uint8), connectivity=8)
    positive, _ = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    least = _MAIN_FRACTION * max(areas[1:], default=0)
    clicked = _under(part_of, positive)
    main = [part for part in range(1, len(areas)) if areas[part] >= least or part in clicked]
    return _pixels_of(part_of, main, len(areas))


def _decide_on_parts(
    inner: npt.NDArray[np.uint8],
    positive: list[Pixel],
    negative: list[Pixel],
    area_thresh: float,
    *,
    keep_largest: bool,
) -> float:
    """Remove parts from ``inner``, in place. Returns the area below which a hole is small."""
    areas, part_of = _components(inner, connectivity=8)
    largest = max(areas[1:], default=0)
    small = min(area_thresh, _SMALL_FRACTION * largest)
    wanted, unwanted = _under(part_of, positive), _under(part_of, negative)
    if keep_largest:
        wanted.add(areas.index(largest, 1))
    gone = [
        part
        for part in range(1, len(areas))
        if part not in wanted and (part in unwanted or areas[part] < small)
    ]
    if gone:
        inner[_pixels_of(part_of, gone, len(areas))] = 0
    return small


def _decide_on_holes(
    inner: npt.NDArray[np.uint8], positive: list[Pixel], negative: list[Pixel], small: float
) -> None:
    """Fill holes of ``inner``, in place."""
    areas, hole_of = _components(1 - inner, connectivity=4)
    outside = hole_of[0, 0]
    wanted, unwanted = _under(hole_of, positive), _under(hole_of, negative)
    filled = [
        hole
        for hole in range(1, len(areas))
        if hole != outside and hole not in unwanted and (hole in wanted or areas[hole] < small)
    ]
    if filled:
        inner[_pixels_of(hole_of, filled, len(areas))] = 1


def _draw_disc(mask: Mask, centre: Pixel, radius: float, value: bool) -> None:
    y, x = centre
    whole = int(radius)
    top, left = max(y - whole, 0), max(x - whole, 0)
    window = mask[top : y + whole + 1, left : x + whole + 1]
    rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
    window[(rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius**2] = value


def _clicked_pixels(prompt: Prompt, size: tuple[int, int]) -> tuple[list[Pixel], list[Pixel]]:
    """The pixels (y, x) of the positive clicks, and those of the negative clicks."""
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


def _shifted(pixels: list[Pixel], y0: int, x0: int, inner: npt.NDArray[np.uint8]) -> list[Pixel]:
    """Convert pixels (y, x) of the mask to pixels of ``inner``, which has a border of 1 pixel."""
    height, width = inner.shape
    moved = [(y - y0 + 1, x - x0 + 1) for y, x in pixels]
    return [(y, x) for y, x in moved if 0 <= y < height and 0 <= x < width]


def _components(
    image: npt.NDArray[np.uint8], *, connectivity: int
) -> tuple[list[int], npt.NDArray[np.int32]]:
    """The area of each component, and the component of each pixel. Component 0 is background."""
    # OpenCV's own statistics are slower: they include boxes and centroids.
    _, labels = cv2.connectedComponents(image, connectivity=connectivity)
    component_of: npt.NDArray[np.int32] = labels.astype(np.int32, copy=False)
    return np.bincount(component_of.reshape(-1)).tolist(), component_of


def _under(component_of: npt.NDArray[np.int32], pixels: list[Pixel]) -> set[int]:
    return {int(component_of[pixel]) for pixel in pixels}


def _pixels_of(component_of: npt.NDArray[np.int32], chosen: list[int], count: int) -> Mask:
    """A mask of the pixels of the chosen components. There are ``count`` components."""
    is_chosen = np.zeros(count, dtype=bool)
    is_chosen[chosen] = True
    return is_chosen[component_of]
