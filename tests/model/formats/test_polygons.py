"""Polygons against scikit-image, and masks that become polygons and masks again."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import grid_points_in_poly

from model.formats.polygons import Polygon, fill, simplified, trace
from model.formats.rings import joined, signed_area


def ring(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=np.float64)


SQUARE = ring((2, 1), (7, 1), (7, 5), (2, 5))


class TestFill:
    def test_pixels_reach_from_edge_to_edge(self) -> None:
        expected = np.zeros((6, 9), dtype=bool)
        expected[1:5, 2:7] = True
        np.testing.assert_array_equal(fill([Polygon(SQUARE)], (6, 9)), expected)
        np.testing.assert_array_equal(fill([Polygon(SQUARE[::-1])], (6, 9)), expected)

    def test_holes_are_open_and_parts_are_together(self) -> None:
        hole = ring((3, 2), (4, 2), (4, 3), (3, 3))
        other = Polygon(ring((8, 5), (9, 5), (9, 6), (8, 6)))
        mask = fill([Polygon(SQUARE, (hole,)), other], (6, 9))
        assert not mask[2, 3]
        assert mask[5, 8]
        assert mask.sum() == 4 * 5 - 1 + 1

    def test_a_ring_that_runs_twice_around_is_filled_as_browsers_fill_it(self) -> None:
        np.testing.assert_array_equal(
            fill([Polygon(np.concatenate([SQUARE, SQUARE]))], (6, 9)),
            fill([Polygon(SQUARE)], (6, 9)),
        )

    def test_what_lies_outside_of_the_image_is_cut_off(self) -> None:
        assert fill([Polygon(SQUARE * 100 - 300)], (6, 9)).all()
        assert not fill([Polygon(SQUARE + 100)], (6, 9)).any()
        assert not fill([Polygon(SQUARE - 100)], (6, 9)).any()

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_point_and_a_line_have_no_pixels(self, count: int) -> None:
        assert not fill([Polygon(SQUARE[:count])], (6, 9)).any()

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000))
    def test_star_shapes_are_those_of_scikit_image(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 40)))
        radii = rng.uniform(2, 60, len(angles))
        star = 40 + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        expected = polygon2mask((70, 90), star[:, ::-1] - 0.5)
        # Angles that leave more than half a turn out are not around the centre.
        if np.diff(angles, append=angles[0] + 2 * np.pi).max() < np.pi:
            np.testing.assert_array_equal(fill([Polygon(star)], (70, 90)), expected)


def blobs(seed: int, size: tuple[int, int] = (60, 80), sigma: float = 3) -> np.ndarray:
    """Parts and holes with smooth edges."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), sigma)
    return smooth > np.median(smooth)


def of_pixels(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


class TestTrace:
    def test_every_mask_of_nine_pixels_comes_back(self) -> None:
        for number in range(512):
            mask = np.array([number >> bit & 1 for bit in range(9)], dtype=bool).reshape(3, 3)
            polygons = trace(mask)
            np.testing.assert_array_equal(fill(polygons, mask.shape), mask)
            exteriors = [signed_area(polygon.exterior) for polygon in polygons]
            holes = [signed_area(hole) for polygon in polygons for hole in polygon.holes]
            assert all(area > 0 for area in exteriors), "clockwise on the screen"
            assert all(area < 0 for area in holes), "the other way round"
            assert sum(exteriors) + sum(holes) == mask.sum()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 10_000), share=st.sampled_from([0.03, 0.3, 0.6, 0.97]))
    def test_noise_comes_back(self, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 40, 2)) < share
        polygons = trace(mask)
        np.testing.assert_array_equal(fill(polygons, mask.shape), mask)
        assert len(polygons) == ndimage.label(mask, np.ones((3, 3)))[1]

    def test_holes_belong_to_the_part_around_them(self) -> None:
        mask = of_pixels(
            "######...####",
            "#....#...#.##",
            "#.##.#...####",
            "#.##.#.......",
            "#....#...#...",
            "######.......",
        )
        around, small, inside, dot = trace(mask)
        assert [hole.tolist() for hole in around.holes] == [[[1, 1], [1, 5], [5, 5], [5, 1]]]
        assert [hole.tolist() for hole in small.holes] == [[[10, 1], [10, 2], [11, 2], [11, 1]]]
        assert inside.exterior.tolist() == [[2, 2], [4, 2], [4, 4], [2, 4]]
        assert dot.exterior.tolist() == [[9, 4], [10, 4], [10, 5], [9, 5]]
        assert inside.holes == dot.holes == ()

    def test_pixels_that_touch_at_a_corner_are_one_part(self) -> None:
        (polygon,) = trace(of_pixels("#..", ".#.", "..#"))
        assert len(polygon.exterior) == 12
        assert not trace(of_pixels("##.", "###", ".##"))[0].holes
        assert len(trace(of_pixels("###.", "#.##", "##.#", ".###"))[0].holes) == 2

    def test_an_empty_mask_has_no_part(self) -> None:
        assert trace(np.zeros((5, 7), dtype=bool)) == []

    @pytest.mark.parametrize("tolerance", [0.5, 1, 2, 4])
    def test_with_a_tolerance_there_are_fewer_vertices_near_the_edge(
        self, tolerance: float
    ) -> None:
        mask = np.pad(blobs(3, sigma=6), 2)
        polygons = trace(mask, tolerance)
        wrong = fill(polygons, mask.shape) ^ mask
        to_edge = np.maximum(*(ndimage.distance_transform_edt(m) for m in (mask, ~mask))) - 0.5
        assert to_edge[wrong].max(initial=0) <= tolerance + 0.75
        vertices = [
            sum(len(polygon.exterior) for polygon in trace(mask, t)) for t in (0, tolerance)
        ]
        assert vertices[1] < 0.7 * vertices[0]

    def test_small_holes_are_filled_and_thin_parts_remain(self) -> None:
        mask = np.zeros((30, 40), dtype=bool)
        mask[2:20, 2:38] = True
        mask[8:11, 8:11] = False
        mask[24, 5:30] = True
        large, thin = trace(mask, tolerance=2)
        assert large.holes == ()
        np.testing.assert_array_equal(fill([thin], mask.shape)[21:], mask[21:])
        assert trace(mask, tolerance=1)[0].holes

    def test_what_was_traced_can_be_simplified_later(self) -> None:
        mask = blobs(5)
        for exact, simple in zip(trace(mask), trace(mask, 1.5), strict=True):
            again = simplified(exact, 1.5)
            np.testing.assert_array_equal(again.exterior, simple.exterior)
            assert len(again.holes) == len(simple.holes)


class TestJoined:
    @pytest.mark.parametrize("seed", range(10))
    def test_lines_enclose_nothing_by_either_rule(self, seed: int) -> None:
        mask = blobs(seed, sigma=2)
        rings = [r for polygon in trace(mask) for r in (polygon.exterior, *polygon.holes)]
        assert len(rings) > 3
        whole = joined(rings)
        np.testing.assert_array_equal(fill([Polygon(whole)], mask.shape), mask)
        by_even_odd = grid_points_in_poly(mask.shape, whole[:, ::-1] - 0.5, binarize=True)
        np.testing.assert_array_equal(by_even_odd, mask)
        assert len(whole) == sum(map(len, rings)) + 2 * (len(rings) - 1)

    def test_each_ring_hangs_on_the_nearest(self) -> None:
        squares = [ring((x, 0), (x + 2, 0), (x + 2, 2), (x, 2)) for x in (0, 30, 10, 20)]
        whole = joined(squares)
        longest = max(np.hypot(*(end - start)) for start, end in pairwise(whole))
        assert longest == 8

    def test_one_ring_stays_as_it_is(self) -> None:
        np.testing.assert_array_equal(joined([SQUARE]), SQUARE)
