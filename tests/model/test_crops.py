"""Small objects are refined in a crop, other objects are not. A mask does not move by it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import (
    ImageEmbedding,
    MaskPrediction,
    Predictor,
    Prompt,
    interactive,
    load_predictor,
)
from model.crops import Crop, crop_for, shared_crops
from model.weights import BUILTIN_PATH

SIZE = (600, 900)
TOKENS = 64
DISCS = ((200, 150, 12), (215, 185, 12), (600, 300, 150))  # x, y, radius


def found(mask: np.ndarray) -> MaskPrediction:
    return MaskPrediction(mask, np.zeros((256, 256), np.float32), 0.9)


def square(left: int, top: int, side: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


class TestWhichCrop:
    def test_a_small_object_lies_well_inside_its_crop(self) -> None:
        crop = crop_for(found(square(400, 300, 40)), Prompt.from_points([(420, 320)]), TOKENS)
        assert crop is not None
        assert crop.width == crop.height == 900 // 8
        assert crop.left + 20 < 400
        assert crop.top + 20 < 300
        assert crop.left + crop.width > 440 + 20
        assert crop.top + crop.height > 340 + 20

    @pytest.mark.parametrize(
        ("mask", "prompt"),
        [
            pytest.param(square(300, 200, 90), Prompt.from_points([(350, 250)]), id="large"),
            pytest.param(square(0, 0, 0), Prompt.from_points([(350, 250)]), id="nothing found"),
            pytest.param(
                square(400, 300, 40), Prompt.from_points([(420, 320), (700, 50)]), id="far click"
            ),
            pytest.param(square(400, 300, 40), Prompt.from_box((100, 100, 500, 400)), id="box"),
            pytest.param(
                square(10, 10, 4, (30, 40)), Prompt.from_points([(12, 12)]), id="small image"
            ),
        ],
    )
    def test_no_crop(self, mask: np.ndarray, prompt: Prompt) -> None:
        assert crop_for(found(mask), prompt, TOKENS) is None

    def test_the_size_of_a_box_counts_as_the_size_of_the_object(self) -> None:
        everything = np.ones(SIZE, bool)
        assert crop_for(found(everything), Prompt.from_box((100, 100, 130, 140)), TOKENS)

    def test_a_far_speck_does_not_make_a_small_object_large(self) -> None:
        mask = square(400, 300, 40) | square(10, 10, 5)
        assert crop_for(found(mask), Prompt.from_points([(420, 320)]), TOKENS)

    def test_neighbours_share_a_crop(self) -> None:
        crops = {
            crop_for(
                found(square(400 + shift, 300, 20)),
                Prompt.from_points([(405 + shift, 305)]),
                TOKENS,
            )
            for shift in range(0, 300, 5)
        }
        assert len(crops) <= 300 / (900 / 16 / 4) + 2

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def test_a_crop_holds_the_object_and_lies_in_the_image(self, data: st.DataObject) -> None:
        height, width = size = data.draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
        x, y = data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)))
        side = data.draw(st.integers(1, 80))
        mask = square(x, y, side, size)
        crop = crop_for(found(mask), Prompt.from_points([(x, y)]), 24)
        if crop is None:
            return
        assert 0 <= crop.left <= crop.left + crop.width <= width
        assert 0 <= crop.top <= crop.top + crop.height <= height
        seen = crop.cut(mask[..., None].astype(np.uint8))[..., 0].astype(bool)
        np.testing.assert_array_equal(crop.uncrop(seen, size), mask)
        assert not crop.touches_crop_edge(seen, size)


class TestSharedCrops:
    @staticmethod
    def boxes(count: int, seed: int, smallest: int, largest: int) -> list[Prompt]:
        rng = np.random.default_rng(seed)
        sides = rng.integers(smallest, largest, (count, 2))
        corners = rng.uniform(0, np.array([SIZE[1], SIZE[0]]) - 1 - sides)
        return [
            Prompt.from_box((x, y, x + width, y + height))
            for (x, y), (width, height) in zip(corners.tolist(), sides.tolist(), strict=True)
        ]

    def test_they_are_as_large_as_crops_of_one_box_and_have_room(self) -> None:
        prompts = self.boxes(200, seed=0, smallest=5, largest=140)
        everything = found(np.ones(SIZE, bool))
        shared = shared_crops(prompts, SIZE, TOKENS)
        assert None in shared
        for prompt, crop in zip(prompts, shared, strict=True):
            own = crop_for(everything, prompt, TOKENS)
            assert (crop is None) == (own is None)
            if crop is None or own is None:
                continue
            assert crop.size == own.size
            (x0, y0), (x1, y1) = prompt.point_coords
            for low, high, begin, side, length in (
                (x0, x1, crop.left, crop.width, SIZE[1]),
                (y0, y1, crop.top, crop.height, SIZE[0]),
            ):
                assert begin == 0 or low - begin >= side / 8 - 1
                assert begin + side == length or begin + side - 1 - high >= side / 8 - 1

    def test_many_boxes_need_fewer(self) -> None:
        prompts = self.boxes(100, seed=1, smallest=30, largest=50)
        everything = found(np.ones(SIZE, bool))
        alone = {crop_for(everything, prompt, TOKENS) for prompt in prompts}
        assert len(set(shared_crops(prompts, SIZE, TOKENS))) < 0.9 * len(alone)

    def test_no_boxes(self) -> None:
        assert shared_crops([], SIZE, TOKENS) == []


class TestCrop:
    CROP = Crop(100, 50, 64, 32)

    def test_clicks_are_converted_and_clicks_outside_are_left_out(self) -> None:
        prompt = Prompt.from_points([(110, 60), (300, 60), (100, 81)], [1, 0, 0])
        moved = self.CROP.prompt(prompt)
        assert moved.point_coords.tolist() == [[10, 10], [0, 31]]
        assert moved.point_labels.tolist() == [1, 0]

    @pytest.mark.parametrize(
        ("crop", "row", "column", "expected"),
        [
            (CROP, 0, 9, True),
            (CROP, 31, 9, True),
            (CROP, 9, 0, True),
            (CROP, 9, 63, True),
            (CROP, 9, 9, False),
            (Crop(0, 0, 64, 32), 0, 0, False),
            (Crop(136, 68, 64, 32), 31, 63, False),
        ],
    )
    def test_a_mask_that_reaches_an_inner_edge_touches_it(
        self, crop: Crop, row: int, column: int, expected: bool
    ) -> None:
        mask = np.zeros(crop.size, bool)
        mask[row, column] = True
        assert crop.touches_crop_edge(mask, (100, 200)) == expected


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH)


class TestSegment:
    @pytest.fixture
    def image(self) -> np.ndarray:
        """Two small discs, far apart, and a large one."""
        image = np.full((600, 900, 3), 120, np.uint8)
        for x, y, radius in DISCS:
            image[disc(SIZE, x, y, radius)] = (210, 50, 40)
        return image

    @pytest.fixture
    def embedded(self) -> list[Crop]:
        return []

    @pytest.fixture
    def embed_crop(
        self, predictor: Predictor, image: np.ndarray, embedded: list[Crop]
    ) -> Callable[[Crop], ImageEmbedding]:
        def embed(crop: Crop) -> ImageEmbedding:
            embedded.append(crop)
            return predictor.embed(crop.cut(image))

        return embed

    def test_small_objects_get_better_masks(
        self, predictor: Predictor, image: np.ndarray, embed_crop: Callable, embedded: list[Crop]
    ) -> None:
        embedding = predictor.embed(image)
        prompts = [Prompt.from_box((188, 138, 212, 162)), Prompt.from_box((203, 173, 227, 197))]
        once = interactive.segment(predictor, embedding, prompts)
        twice = interactive.segment(predictor, embedding, prompts, embed_crop=embed_crop)
        for (x, y), first, second in zip([(200, 150), (215, 185)], once, twice, strict=True):
            target = disc(SIZE, x, y, 12)
            errors = [np.count_nonzero(one.mask != target) for one in (first, second)]
            assert errors[1] < errors[0]
            assert errors[1] < 0.2 * target.sum()
            assert second.mask.shape == SIZE
        assert len(embedded) <= 2

    def test_a_large_object_needs_no_crop(
        self, predictor: Predictor, image: np.ndarray, embed_crop: Callable, embedded: list[Crop]
    ) -> None:
        embedding, prompt = predictor.embed(image), Prompt.from_points([(600, 300)])
        interactive.segment(predictor, embedding, [prompt], embed_crop=embed_crop)
        assert not embedded

    def test_without_the_crop_the_mask_of_the_whole_image_stays(
        self, predictor: Predictor, image: np.ndarray
    ) -> None:
        embedding, prompt = predictor.embed(image), Prompt.from_box((188, 138, 212, 162))
        (first,) = interactive.segment(predictor, embedding, [prompt])
        (second,) = interactive.segment(
            predictor, embedding, [prompt], embed_crop=lambda crop: None
        )
        np.testing.assert_array_equal(first.mask, second.mask)

    def test_many_boxes_get_the_masks_that_each_gets_alone(
        self, predictor: Predictor, image: np.ndarray
    ) -> None:
        """Crops that begin elsewhere differ in the last pixels of an edge only."""
        embedding = predictor.embed(image)
        prompts = [
            Prompt.from_box((x - r - 3, y - r - 3, x + r + 3, y + r + 3)) for x, y, r in DISCS
        ] * 4

        def embed_crop(crop: Crop) -> ImageEmbedding:
            return predictor.embed(crop.cut(image))

        alone = interactive.segment(predictor, embedding, prompts, embed_crop=embed_crop)
        together = dict(
            interactive.segment_boxes(predictor, embedding, prompts, embed_crop=embed_crop)
        )
        assert sorted(together) == list(range(len(prompts)))
        for index, (x, y, r) in enumerate(DISCS * 4):
            truth = disc(image.shape[:2], x, y, r)
            for prediction in (alone[index], together[index]):
                assert (prediction.mask & truth).sum() / (prediction.mask | truth).sum() > 0.8

    def test_boxes_without_crops_are_predicted_in_the_whole_image(
        self, predictor: Predictor, image: np.ndarray
    ) -> None:
        embedding = predictor.embed(image)
        prompts = [Prompt.from_box((x - r, y - r, x + r, y + r)) for x, y, r in DISCS]
        whole = interactive.segment(predictor, embedding, prompts)
        for embed_crop in (None, lambda crop: None):
            boxes = interactive.segment_boxes(predictor, embedding, prompts, embed_crop=embed_crop)
            masks = {index: prediction.mask for index, prediction in boxes}
            for index, prediction in enumerate(whole):
                np.testing.assert_array_equal(masks[index], prediction.mask)
