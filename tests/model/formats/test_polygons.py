"""Polygons against scikit-image, and masks that become polygons and masks again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from model.formats.polygons import Polygon, fill


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
