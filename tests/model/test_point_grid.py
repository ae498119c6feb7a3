"""Points and crops cover an image, and no point comes twice."""

import numpy as np
import pytest

from model.crops import Crop
from model.point_grid import crops_of, point_grid


def test_each_point_is_in_the_middle_of_its_cell() -> None:
    coarse, others = point_grid(4, (40, 80))
    assert coarse.tolist() == [[10, 5], [50, 5], [10, 25], [50, 25]]
    every = {tuple(point) for point in np.concatenate([coarse, others])}
    assert every == {(x, y) for x in (10, 30, 50, 70) for y in (5, 15, 25, 35)}


@pytest.mark.parametrize(
    ("size", "count"), [((1, 1), 1), ((2, 100), 2 * 32), ((500, 3), 32 * 3), ((40, 40), 32 * 32)]
)
def test_an_axis_has_no_more_points_than_pixels(size: tuple[int, int], count: int) -> None:
    points = np.concatenate(point_grid(32, size))
    assert len(np.unique(points, axis=0)) == len(points) == count
    assert (points >= 0).all()
    assert (points < (size[1], size[0])).all()


def test_crops_are_those_of_sam() -> None:
    assert crops_of((600, 900), 0) == []
    # generate_crop_boxes((600, 900), 1, 512 / 1500) of segment_anything/utils/amg.py
    assert crops_of((600, 900), 1) == [
        Crop(0, 0, 552, 402),
        Crop(348, 0, 552, 402),
        Crop(0, 198, 552, 402),
        Crop(348, 198, 552, 402),
    ]
    assert len(crops_of((600, 900), 2)) == 4 + 16


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 5), (601, 333)])
def test_crops_cover_the_image_and_stay_inside(size: tuple[int, int]) -> None:
    for layers in (1, 2, 3):
        covered = np.zeros(size, dtype=bool)
        for crop in crops_of(size, layers)[len(crops_of(size, layers - 1)) :]:
            assert crop.width > 0
            assert crop.height > 0
            assert crop.left + crop.width <= size[1]
            assert crop.top + crop.height <= size[0]
            covered[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width] = True
        assert covered.all()
