"""Corrects a mask so that it agrees with its clicks. The network is not used.

Where the mask and a click disagree, the click is right: the annotator sees the object.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    box = box_around(mask)
    if box is None:
        return mask.copy()
    positive, negative = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    x, y, width, height = box
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


def box_around(mask: Mask) -> tuple[int, int, int, int] | None:
    """The box around all pixels of a mask, or None where the mask is empty.

    For an object that is smaller than the picture, this takes a fifth of the time of
    ``cv2.boundingRect``.

    Args:
        mask: H x W, True on the object.

    Returns:
        (x, y, width, height), pixels.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return left, top, right - left, bottom - top


def main_parts(mask: Mask, prompt: Prompt) -> Mask:
    """The main parts of a mask.

    A main part holds a positive click, or has at least a tenth of the largest part's area.

    Args:
        mask: H x W, True on the object.
        prompt: in pixels of the mask.

    Returns:
        H x W, a new array. It is empty only if ``mask`` is empty.
    """
    parts = _components(mask.view(np.uint8), connectivity=8)
    areas = parts.areas
    positive, _ = _clicked_pixels(prompt, (mask.shape[0], mask.shape[1]))
    least = _MAIN_FRACTION * max(areas[1:], default=0)
    clicked = parts.under(positive)
    return parts.pixels_of(
        [part for part in range(1, len(areas)) if areas[part] >= least or part in clicked]
    )


def _decide_on_parts(
    inner: npt.NDArray[np.uint8],
    positive: list[Pixel],
    negative: list[Pixel],
    area_thresh: float,
    *,
    keep_largest: bool,
) -> float:
    """Remove parts from ``inner``, in place. Returns the area below which a hole is small."""
    parts = _components(inner, connectivity=8)
    areas = parts.areas
    largest = max(areas[1:], default=0)
    small = min(area_thresh, _SMALL_FRACTION * largest)
    wanted, unwanted = parts.under(positive), parts.under(negative)
    if keep_largest:
        wanted.add(areas.index(largest, 1))
    gone = [
        part
        for part in range(1, len(areas))
        if part not in wanted and (part in unwanted or areas[part] < small)
    ]
    if gone:
        inner[parts.pixels_of(gone)] = 0
    return small


def _decide_on_holes(
    inner: npt.NDArray[np.uint8], positive: list[Pixel], negative: list[Pixel], small: float
) -> None:
    """Fill holes of ``inner``, in place.

    Only the box around all holes is looked at: it is often small, or there is no hole. In this box
    the background outside the object touches an edge, and no hole does.
    """
    box = _box_of_holes(inner)
    if box is None:
        return
    x, y, width, height = box
    part = inner[y : y + height, x : x + width]
    holes = _components(1 - part, connectivity=4)
    outside = holes.on_edges()
    wanted, unwanted = (
        holes.under(
            [(v - y, u - x) for v, u in clicks if y <= v < y + height and x <= u < x + width]
        )
        for clicks in (positive, negative)
    )
    filled = [
        hole
        for hole in range(1, len(holes.areas))
        if hole not in outside
        and hole not in unwanted
        and (hole in wanted or holes.areas[hole] < small)
    ]
    if filled:
        part[holes.pixels_of(filled)] = 1


def _box_of_holes(inner: npt.NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) of the box around all holes and the pixels around them, or None."""
    contours, hierarchy = cv2.findContours(inner, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    rims = [contours[index] for index in np.flatnonzero(hierarchy[0, :, 3] >= 0)]
    if not rims:
        return None
    x, y, width, height = cv2.boundingRect(np.concatenate(rims))
    return x, y, width, height


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


@dataclass(frozen=True)
class _Components:
    """The connected components of a picture. Component 0 is where the picture is 0.

    A picture has far fewer runs (equal pixels side by side in a row) than pixels, so areas are
    summed and pixels are chosen by runs.

    Attributes:
        of_pixel: H x W, the component of each pixel.
        of_run: the component of each run, row by row.
        lengths: of the runs, pixels.
        areas: of the components, pixels.
    """

    of_pixel: npt.NDArray[np.int32]
    of_run: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    areas: list[int]

    def under(self, pixels: list[Pixel]) -> set[int]:
        """The components that hold one of these pixels (y, x)."""
        return {int(self.of_pixel[pixel]) for pixel in pixels}

    def on_edges(self) -> set[int]:
        """The components that touch an edge of the picture."""
        edges = (self.of_pixel[[0, -1]], self.of_pixel[:, [0, -1]])
        return {component for edge in edges for component in np.unique(edge).tolist()}

    def pixels_of(self, chosen: list[int]) -> Mask:
        """A mask of the pixels of the chosen components."""
        is_chosen = np.zeros(len(self.areas), dtype=bool)
        is_chosen[chosen] = True
        return np.repeat(is_chosen[self.of_run], self.lengths).reshape(self.of_pixel.shape)


def _components(image: npt.NDArray[np.uint8], *, connectivity: int) -> _Components:
    # OpenCV's own statistics are slower: they include boxes and centroids.
    count, labels = cv2.connectedComponents(image, connectivity=connectivity)
    of_pixel: npt.NDArray[np.int32] = labels.astype(np.int32, copy=False)
    begins = np.ones(image.shape, dtype=bool)
    np.not_equal(image[:, 1:], image[:, :-1], out=begins[:, 1:])
    first = np.flatnonzero(begins)
    of_run = of_pixel.reshape(-1)[first]
    lengths = np.diff(first, append=image.size)
    areas = np.bincount(of_run, weights=lengths, minlength=count).astype(int).tolist()
    return _Components(of_pixel, of_run, lengths, areas)
