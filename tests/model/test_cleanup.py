"""A cleaned mask agrees with its clicks, has no specks or pinholes, and keeps all real parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from model import Prompt
from model.cleanup import enforce_clicks, remove_small_regions

AREA_THRESH = 39  # pixels


def clean_up(mask: np.ndarray, prompt: Prompt) -> np.ndarray:
    """Both steps, in the order that the predictor uses."""
    cleaned = remove_small_regions(mask, prompt, AREA_THRESH)
    enforce_clicks(cleaned, prompt)
    return cleaned


def boxes(*corners: tuple[int, int, int, int], size: tuple[int, int] = (300, 400)) -> np.ndarray:
    """A mask of rectangles (x0, y0, x1, y1). Where two overlap, the mask is empty."""
    mask = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in corners:
        mask[y0:y1, x0:x1] ^= True
    return mask


OBJECT = (50, 50, 250, 250)  # 40,000 pixels; 2 % of the area are 800
HOLE = (100, 100, 140, 140)
PART = (300, 50, 330, 80)


@pytest.mark.parametrize(
    ("given_", "points", "labels", "expected"),
    [
        pytest.param([OBJECT], [(60, 60)], [1], [OBJECT], id="nothing-to-do"),
        pytest.param([OBJECT, PART], [(60, 60)], [1], [OBJECT, PART], id="a-real-part-stays"),
        pytest.param([OBJECT, HOLE], [(60, 60)], [1], [OBJECT, HOLE], id="a-real-hole-stays"),
        pytest.param([OBJECT, (300, 50, 304, 54)], [(60, 60)], [1], [OBJECT], id="a-speck-goes"),
        pytest.param(
            [OBJECT, (300, 50, 304, 54)],
            [(60, 60), (301, 51)],
            [1, 1],
            [OBJECT, (300, 50, 304, 54)],
            id="a-speck-that-was-clicked-stays",
        ),
        pytest.param(
            [OBJECT, (100, 100, 104, 104)], [(60, 60)], [1], [OBJECT], id="a-pinhole-is-filled"
        ),
        pytest.param(
            [OBJECT, (100, 100, 104, 104)],
            [(60, 60), (101, 101)],
            [1, 0],
            [OBJECT, (100, 100, 104, 104)],
            id="a-pinhole-that-was-clicked-stays",
        ),
        pytest.param(
            [OBJECT, PART], [(60, 60), (310, 60)], [1, 0], [OBJECT], id="a-part-with-minus-goes"
        ),
        pytest.param(
            [OBJECT, HOLE], [(60, 60), (120, 120)], [1, 1], [OBJECT], id="a-hole-with-plus-closes"
        ),
        pytest.param(
            [(10, 10, 16, 16), (20, 10, 22, 12)],
            [(11, 11)],
            [1],
            [(10, 10, 16, 16), (20, 10, 22, 12)],
            id="a-small-object-keeps-its-small-parts",
        ),
        pytest.param(
            [(0, 0, 400, 300), (0, 100, 3, 103)],
            [(200, 200)],
            [1],
            [(0, 0, 400, 300), (0, 100, 3, 103)],
            id="a-notch-at-the-border-is-no-pinhole",
        ),
    ],
)
def test_parts_and_holes(
    given_: list[tuple[int, int, int, int]],
    points: list[tuple[float, float]],
    labels: list[int],
    expected: list[tuple[int, int, int, int]],
) -> None:
    cleaned = clean_up(boxes(*given_), Prompt.from_points(points, labels))
    np.testing.assert_array_equal(cleaned, boxes(*expected))


def test_a_minus_in_the_clicked_part_takes_a_disc_only() -> None:
    mask = boxes(OBJECT)
    cleaned = clean_up(mask, Prompt.from_points([(60, 60), (150, 150)], [1, 0]))
    removed = np.argwhere(mask & ~cleaned)
    assert [150, 150] in removed.tolist()
    assert np.abs(removed - 150).max() == 4  # a hundredth of the longer side
    assert not (cleaned & ~mask).any()


def test_a_plus_beside_the_mask_takes_a_disc_half_way_to_a_minus() -> None:
    mask = boxes(OBJECT)
    cleaned = clean_up(mask, Prompt.from_points([(300, 150), (303, 150)], [1, 0]))
    assert cleaned[150, 300]
    assert not cleaned[150, 302:305].any()


def test_a_box_is_no_click() -> None:
    mask = boxes(OBJECT)
    np.testing.assert_array_equal(clean_up(mask, Prompt.from_box((0, 0, 399, 299))), mask)


def test_a_minus_in_the_object_of_a_box_takes_a_disc_only() -> None:
    """The part that is the object of the box is never removed as a whole."""
    mask = boxes(OBJECT, (300, 50, 340, 90))
    prompt = Prompt.from_points([(150, 150), (320, 70)], [0, 0], (0, 0, 399, 299))
    cleaned = clean_up(mask, prompt)
    assert not cleaned[150, 150]
    assert not cleaned[50:90, 300:340].any()
    assert np.count_nonzero(boxes(OBJECT) & ~cleaned) < 80
    both = Prompt.from_points([(150, 150), (320, 70)], [0, 1], (0, 0, 399, 299))
    cleaned = clean_up(mask, both)
    assert cleaned[50:90, 300:340].all()
    assert np.count_nonzero(boxes(OBJECT) & ~cleaned) < 80


def test_the_given_mask_is_left_alone() -> None:
    mask = boxes(OBJECT, (300, 50, 304, 54))
    before = mask.copy()
    clean_up(mask, Prompt.from_points([(60, 60), (150, 150)], [1, 0]))
    np.testing.assert_array_equal(mask, before)


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """A mask with parts and holes of every size, from single pixels up."""
    noise = np.random.default_rng(seed).random((height, width))
    smooth = ndimage.gaussian_filter(noise, sigma=1 + seed % 5)
    return (smooth > np.median(smooth)) ^ (noise > 0.99)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_without_further_clicks_only_specks_and_pinholes_change(seed: int) -> None:
    mask = blobs(seed, 120, 160)
    y, x = np.argwhere(mask)[0]
    cleaned = clean_up(mask, Prompt.from_points([(float(x), float(y))]))
    for changed, connectivity in ((mask & ~cleaned, 8), (cleaned & ~mask, 4)):
        structure = np.ones((3, 3)) if connectivity == 8 else None
        _, count = ndimage.label(changed, structure)
        sizes = ndimage.sum_labels(changed, ndimage.label(changed, structure)[0], range(count + 1))
        assert sizes.max() < AREA_THRESH


def by_the_rules(mask: np.ndarray, prompt: Prompt, area_thresh: float) -> np.ndarray:
    """``remove_small_regions`` as its docstring says it: one part and one hole after the other."""
    cleaned = mask.copy()
    clicks = [(int(y), int(x)) for x, y in prompt.point_coords]
    signs = dict(zip(clicks, prompt.point_labels, strict=True))
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    areas = [np.count_nonzero(parts == part) for part in range(1, count + 1)]
    small = min(area_thresh, 0.02 * max(areas, default=0))
    for part, area in enumerate(areas, start=1):
        found = {sign for pixel, sign in signs.items() if parts[pixel] == part}
        if 1 not in found and (found or area < small):
            cleaned[parts == part] = False
    holes, count = ndimage.label(np.pad(~cleaned, 1, constant_values=True))
    holes = np.where(holes == holes[0, 0], 0, holes)[1:-1, 1:-1]
    for hole in range(1, count + 1):
        found = {sign for pixel, sign in signs.items() if holes[pixel] == hole}
        if 0 not in found and (found or np.count_nonzero(holes == hole) < small):
            cleaned[holes == hole] = True
    return cleaned


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_every_pixel_is_as_the_rules_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 90, 2)
    mask = blobs(seed, int(height), int(width)) & (rng.random() < 0.95)
    count = rng.integers(1, 5)
    points = np.stack([rng.integers(0, width, count), rng.integers(0, height, count)], axis=1)
    prompt = Prompt.from_points(points.astype(float).tolist(), rng.integers(0, 2, count).tolist())
    cleaned = remove_small_regions(mask, prompt, AREA_THRESH)
    np.testing.assert_array_equal(cleaned, by_the_rules(mask, prompt, AREA_THRESH))
