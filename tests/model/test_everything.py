"""Everything in a picture: each object once, the largest first, in few answers of the network."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from model import Predictor, load_predictor
from model.everything import EverythingSettings, segment_everything
from model.types import ImageEmbedding
from model.weights import BUILTIN_PATH

# (x, y, radius, colour) of discs on a grey ground, pixels of a 320 x 240 image.
DISCS = (
    (70, 70, 45, (210, 50, 40)),
    (210, 60, 36, (40, 90, 200)),
    (80, 180, 30, (240, 220, 60)),
    (250, 170, 40, (30, 160, 70)),
)
QUICK = EverythingSettings(points_per_side=12)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH, precision="fp32")


def disc(x: float, y: float, radius: float, height: int = 240, width: int = 320) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    image = np.full((240, 320, 3), 128, np.uint8)
    for x, y, radius, colour in DISCS:
        image[disc(x, y, radius)] = colour
    return image


@pytest.fixture(scope="module")
def embedding(predictor: Predictor, picture: np.ndarray) -> ImageEmbedding:
    return predictor.embed(picture)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def masks_of(
    predictor: Predictor, embedding: ImageEmbedding, settings: EverythingSettings
) -> list[np.ndarray]:
    return [one.mask for one in segment_everything(predictor, embedding, settings)]


def test_each_of_several_objects_is_found(predictor: Predictor, embedding: ImageEmbedding) -> None:
    masks = masks_of(predictor, embedding, QUICK)
    for x, y, radius, _ in DISCS:
        assert max(iou(mask, disc(x, y, radius)) for mask in masks) > 0.85


def test_the_largest_mask_is_first_and_no_object_comes_twice(
    predictor: Predictor, embedding: ImageEmbedding
) -> None:
    masks = masks_of(predictor, embedding, QUICK)
    areas = [np.count_nonzero(mask) for mask in masks]
    assert areas == sorted(areas, reverse=True)
    assert max(iou(*pair) for pair in combinations(masks, 2)) <= QUICK.box_nms_thresh


def test_masks_come_one_at_a_time(predictor: Predictor, embedding: ImageEmbedding) -> None:
    assert isinstance(segment_everything(predictor, embedding, QUICK), Iterator)


@pytest.mark.parametrize(
    "size", [pytest.param((1, 1), id="one-pixel"), pytest.param((3, 900), id="very-wide")]
)
def test_images_of_odd_sizes(predictor: Predictor, size: tuple[int, int]) -> None:
    embedding = predictor.embed(np.zeros((*size, 3), np.uint8))
    for mask in masks_of(predictor, embedding, QUICK):
        assert mask.shape == size


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="pred_iou_thresh must be 0 to 1, not 88"):
        EverythingSettings(pred_iou_thresh=88)
    with pytest.raises(ValueError, match="points_per_side must be 1 or more, not 0"):
        EverythingSettings(points_per_side=0)
    with pytest.raises(ValueError, match="max_masks must be 1 or more, or None, not 0"):
        EverythingSettings(max_masks=0)
