"""Shapes that stand for a mask, filled again and compared with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import grid_points_in_poly

from backend.regions.mask_shapes import bounding_box, ellipse, polygons


def fill(rings: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie within."""
    mask = np.zeros(size, dtype=bool)
    for ring in rings:
        mask |= grid_points_in_poly(size, ring[:, ::-1] - 0.5, binarize=True)
    return mask


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


def signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """The pixels whose centres lie in a disc; (x, y) is a continuous position."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def blobs(seed: int) -> np.ndarray:
    """Parts and holes with smooth edges."""
    noise = np.random.default_rng(seed).random((100, 140))
    smooth = ndimage.gaussian_filter(noise, sigma=4)
    return smooth > np.median(smooth)


class TestPolygons:
    def test_a_rectangle_runs_along_its_pixels_edges(self) -> None:
        mask = np.zeros((9, 9), dtype=bool)
        mask[2:5, 3:8] = True
        (ring,) = polygons(mask, tolerance=1, max_vertices=100)
        assert sorted(ring.tolist()) == [[3, 2], [3, 5], [8, 2], [8, 5]]

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000))
    def test_without_tolerance_the_mask_comes_back_exactly(self, seed: int) -> None:
        mask = blobs(seed)
        rings = polygons(mask, tolerance=0, max_vertices=10_000)
        np.testing.assert_array_equal(fill(rings, mask.shape), mask)
        # holes run the other way round, so filling by winding numbers leaves them open too
        assert abs(sum(map(signed_area, rings))) == pytest.approx(mask.sum(), rel=0.02)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000), tolerance=st.floats(0, 3))
    def test_the_edge_moves_no_further_than_the_tolerance(
        self, seed: int, tolerance: float
    ) -> None:
        mask = np.pad(blobs(seed), 1)
        wrong = mask ^ fill(polygons(mask, tolerance, max_vertices=10_000), mask.shape)
        inside = ndimage.distance_transform_edt(mask)
        from_edge = np.maximum(inside, ndimage.distance_transform_edt(~mask)) - 0.5
        holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
        for hole in range(1, count + 1):  # the smallest holes may be filled
            if np.count_nonzero(holes == hole) < 1.5 * (2 * tolerance) ** 2 + 4:
                wrong &= holes != hole
        assert not wrong.any() or from_edge[wrong].max() <= tolerance + 0.75

    def test_every_part_is_a_ring_the_largest_first(self) -> None:
        mask = disc((100, 200), 30, 50, 10) | disc((100, 200), 120, 50, 30)
        first, second = polygons(mask, tolerance=1, max_vertices=100)
        assert np.hypot(*(first.mean(axis=0) - (120, 50))) < 3
        assert np.hypot(*(second.mean(axis=0) - (30, 50))) < 3

    def test_holes_stay_open(self) -> None:
        size = (200, 300)
        mask = disc(size, 150, 100, 90) & ~disc(size, 120, 80, 20) & ~disc(size, 180, 130, 25)
        rings = polygons(mask, tolerance=1, max_vertices=500)
        assert len(rings) == 1
        assert iou(fill(rings, size), mask) > 0.98
        assert not fill(rings, size)[80, 120]
        assert not fill(rings, size)[130, 180]

    def test_a_hole_smaller_than_the_tolerance_shows_is_filled(self) -> None:
        mask = disc((100, 100), 50, 50, 40)
        mask[50:52, 50:52] = False
        (ring,) = polygons(mask, tolerance=1.5, max_vertices=500)
        assert fill([ring], mask.shape)[50:52, 50:52].all()

    @pytest.mark.parametrize(("tolerance", "least"), [(0.5, 0.99), (1, 0.98), (2, 0.95)])
    def test_a_disc_comes_back(self, tolerance: float, least: float) -> None:
        mask = disc((200, 200), 100, 90, 70)
        (ring,) = polygons(mask, tolerance, max_vertices=500)
        assert iou(fill([ring], mask.shape), mask) > least
        assert len(ring) < 170

    @pytest.mark.parametrize("max_vertices", [4, 10, 50])
    def test_no_ring_has_more_vertices_than_allowed(self, max_vertices: int) -> None:
        for seed in range(10):
            rings = polygons(blobs(seed), tolerance=0.5, max_vertices=max_vertices)
            assert all(3 <= len(ring) <= max_vertices for ring in rings)

    @pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 2)])
    def test_what_is_thinner_than_the_tolerance_is_still_there(self, size: tuple[int, int]) -> None:
        mask = np.ones(size, dtype=bool)
        np.testing.assert_array_equal(fill(polygons(mask, 2, 100), size), mask)

    def test_an_empty_mask_has_none(self) -> None:
        assert polygons(np.zeros((5, 5), dtype=bool), 1, 100) == []


def test_bounding_box() -> None:
    mask = np.zeros((50, 60), dtype=bool)
    mask[10:20, 30:35] = True
    mask[40, 59] = True
    assert bounding_box(mask) == (30, 10, 30, 31)


@pytest.mark.parametrize("rotation", [0, 30, 90, 135, 170])
def test_an_ellipse_comes_back(rotation: float) -> None:
    rows, columns = np.mgrid[:200, :300] + 0.5
    x, y = columns - 140, rows - 90
    angle = np.radians(rotation)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    found = ellipse((along / 70) ** 2 + (across / 30) ** 2 <= 1)
    assert found.center == pytest.approx((140, 90), abs=0.2)
    assert found.radii == pytest.approx((70, 30), abs=0.3)
    assert abs((found.rotation - rotation + 90) % 180 - 90) < 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_an_ellipse_of_a_line_has_a_width(size: tuple[int, int]) -> None:
    assert min(ellipse(np.ones(size, dtype=bool)).radii) > 0.5
