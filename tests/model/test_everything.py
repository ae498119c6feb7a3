"""Everything in a picture: each object once, the largest first, in few answers of the network."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest

from model import Predictor, load_predictor
from model.crops import Crop
from model.everything import EverythingSettings, segment_everything
from model.point_grid import point_grid
from model.types import DecoderInputs, DecoderOutputs, ImageEmbedding
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


def test_the_low_res_mask_shows_the_same_object(
    predictor: Predictor, embedding: ImageEmbedding
) -> None:
    side = predictor.engine.image_size // 4
    for one in segment_everything(predictor, embedding, QUICK):
        assert one.low_res_mask.shape == (side, side)
        again = cv2.resize(one.low_res_mask, (320, 320))[:240] > 0
        assert iou(again, one.mask) > 0.9


class TestThresholds:
    def test_of_the_predicted_iou(self, predictor: Predictor, embedding: ImageEmbedding) -> None:
        loose, strict = QUICK, replace(QUICK, pred_iou_thresh=0.97)
        many, few = (
            [one.iou_prediction for one in segment_everything(predictor, embedding, settings)]
            for settings in (loose, strict)
        )
        assert min(many) < 0.97 <= min(few)

    def test_of_the_stability(self, predictor: Predictor, embedding: ImageEmbedding) -> None:
        unstable = replace(QUICK, pred_iou_thresh=0, stability_score_thresh=0)
        stable = replace(unstable, stability_score_thresh=0.9)
        few, many = (masks_of(predictor, embedding, one) for one in (stable, unstable))
        assert 0 < len(few) < len(many)

    def test_of_the_iou_between_masks(
        self, predictor: Predictor, embedding: ImageEmbedding
    ) -> None:
        similar = replace(QUICK, pred_iou_thresh=0.3, box_nms_thresh=0.95)
        assert len(masks_of(predictor, embedding, similar)) > len(
            masks_of(predictor, embedding, replace(similar, box_nms_thresh=0.5))
        )

    def test_no_full_size_mask_repeats_another(
        self, predictor: Predictor, embedding: ImageEmbedding
    ) -> None:
        """Upsampling and clean-up can bring two low-res masks nearer to each other."""
        many = replace(QUICK, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.5)
        masks = masks_of(predictor, embedding, many)
        assert max(iou(*pair) for pair in combinations(masks, 2)) <= 0.5

    def test_of_small_regions(self, predictor: Predictor, embedding: ImageEmbedding) -> None:
        areas = [np.count_nonzero(mask) for mask in masks_of(predictor, embedding, QUICK)]
        least = (areas[1] + areas[-1]) // 2
        large = masks_of(predictor, embedding, replace(QUICK, min_mask_region_area=least))
        assert 0 < len(large) < len(areas)
        for mask in large:
            _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            assert statistics[1:, cv2.CC_STAT_AREA].min() >= least

    def test_of_the_count(self, predictor: Predictor, embedding: ImageEmbedding) -> None:
        everything = list(segment_everything(predictor, embedding, QUICK))
        best = sorted(one.iou_prediction for one in everything)[-2:]
        two = list(segment_everything(predictor, embedding, replace(QUICK, max_masks=2)))
        assert sorted(one.iou_prediction for one in two) == best
        assert np.count_nonzero(two[0].mask) >= np.count_nonzero(two[1].mask)


def record_points(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Gets the points of each call of the engine, (x, y) in pixels of the input frame."""
    asked: list[np.ndarray] = []
    find_masks = predictor.engine.find_masks

    def record(inputs: DecoderInputs, iou_thresh: float, rows: int) -> DecoderOutputs:
        asked.append(inputs.point_coords[:, 0])
        return find_masks(inputs, iou_thresh, rows)

    monkeypatch.setattr(predictor.engine, "find_masks", record)
    return asked


class TestPoints:
    def test_in_a_large_mask_are_left_out(
        self,
        predictor: Predictor,
        embedding: ImageEmbedding,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = record_points(predictor, monkeypatch)
        ground, *_ = masks_of(predictor, embedding, replace(QUICK, points_per_side=16))
        points = [tuple(point) for point in np.round(np.concatenate(asked) * 320 / 512, 2)]
        assert len(set(points)) == len(points)
        grid = np.round(np.concatenate(point_grid(16, (240, 320))), 2)
        left_out = [point for point in grid if tuple(point) not in set(points)]
        assert len(left_out) > 100
        assert np.mean([ground[int(y), int(x)] for x, y in left_out]) > 0.9

    def test_are_all_asked_where_no_mask_is_confident(
        self,
        predictor: Predictor,
        embedding: ImageEmbedding,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = record_points(predictor, monkeypatch)
        strict = replace(QUICK, stability_score_thresh=1)
        assert not masks_of(predictor, embedding, strict)
        assert sum(map(len, asked)) == 12 * 12

    def test_of_sam_are_all_asked(
        self,
        predictor: Predictor,
        embedding: ImageEmbedding,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = record_points(predictor, monkeypatch)
        list(segment_everything(predictor, embedding, replace(QUICK, hierarchical=False)))
        assert sum(map(len, asked)) == 12 * 12


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    """A small disc and a large disc, 768 x 768."""
    image = np.full((768, 768, 3), 128, np.uint8)
    image[disc(230, 230, 14, 768, 768)] = (210, 50, 40)
    image[disc(500, 520, 150, 768, 768)] = (40, 90, 200)
    return image


class TestCrops:
    def test_find_a_small_object_that_the_whole_image_does_not_show(
        self, predictor: Predictor, wide: np.ndarray
    ) -> None:
        embedding, small = predictor.embed(wide), disc(230, 230, 14, 768, 768)
        settings = replace(QUICK, crop_n_layers=1)
        found = list(
            segment_everything(
                predictor, embedding, settings, lambda crop: predictor.embed(crop.cut(wide))
            )
        )
        without = masks_of(predictor, embedding, EverythingSettings(points_per_side=24))
        best = max(found, key=lambda one: iou(one.mask, small))
        assert iou(best.mask, small) > 0.7
        assert max((iou(mask, small) for mask in without), default=0) < 0.3
        again = cv2.resize(best.low_res_mask, (768, 768)) > 0
        assert again[230, 230]
        assert np.count_nonzero(again & ~disc(230, 230, 30, 768, 768)) == 0

    def test_do_not_cut_a_large_object_into_pieces(
        self, predictor: Predictor, wide: np.ndarray
    ) -> None:
        settings = replace(QUICK, crop_n_layers=1)
        found = segment_everything(
            predictor,
            predictor.embed(wide),
            settings,
            lambda crop: predictor.embed(crop.cut(wide)),
        )
        large = disc(500, 520, 150, 768, 768)
        on_it = [one.mask for one in found if np.count_nonzero(one.mask & large) > 2000]
        on_it = [mask for mask in on_it if np.count_nonzero(mask & ~large) < 2000]
        assert len(on_it) == 1
        assert iou(on_it[0], large) > 0.85

    def test_that_are_not_available_are_left_out(
        self, predictor: Predictor, embedding: ImageEmbedding
    ) -> None:
        asked: list[Crop] = []
        settings = replace(QUICK, crop_n_layers=1)
        found = list(segment_everything(predictor, embedding, settings, asked.append))
        assert len(asked) == 4
        assert len(found) == len(masks_of(predictor, embedding, QUICK))

    def test_need_a_way_to_embed_them(
        self, predictor: Predictor, embedding: ImageEmbedding
    ) -> None:
        with pytest.raises(ValueError, match="crop_n_layers needs embed_crop"):
            segment_everything(predictor, embedding, replace(QUICK, crop_n_layers=1))


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((1, 1), id="one-pixel"),
        pytest.param((3, 900), id="very-wide"),
        pytest.param((300, 200), id="black"),
    ],
)
def test_images_without_an_object(predictor: Predictor, size: tuple[int, int]) -> None:
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
