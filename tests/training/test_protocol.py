"""The simulated annotator: where it clicks, when it stops, what it counts."""

from collections.abc import Callable

import numpy as np
import pytest

from model import interactive
from model.crops import Crop
from model.predictor import load_predictor
from model.types import BACKGROUND, FOREGROUND, ImageEmbedding, MaskPrediction, Prompt
from model.weights import BUILTIN_PATH
from training.protocol import (
    MAX_CLICKS,
    STRATEGIES,
    Trial,
    iou,
    judge,
    next_click,
    served,
    stability,
)

SHAPE = (40, 60)


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


TARGET = rectangle(10, 10, 31, 41)
NOTHING = np.zeros(SHAPE, bool)


def no_crop(crop: Crop) -> None:
    """Embeds nothing."""


def trial(predictor: object, strategy: str = "iou-chained") -> Trial:
    image = np.zeros((*SHAPE, 3), np.uint8)
    embedding = predictor.embed(image)
    return judge(predictor, embedding, image, TARGET, "target", STRATEGIES[strategy])


class TestNextClick:
    def test_the_first_is_at_the_centre_of_the_object(self) -> None:
        x, y, label = next_click(TARGET, NOTHING, [])
        assert (y, label) == (20, FOREGROUND)
        assert 20 <= x <= 30  # as far from all four sides as a rectangle allows

    @pytest.mark.parametrize(
        ("mask", "expected"),
        [
            pytest.param(TARGET & ~rectangle(12, 12, 19, 19), (15, 15, FOREGROUND), id="missed"),
            pytest.param(TARGET | rectangle(31, 50, 38, 57), (53, 34, BACKGROUND), id="beyond"),
        ],
    )
    def test_the_next_corrects_the_error(
        self, mask: np.ndarray, expected: tuple[int, int, int]
    ) -> None:
        assert next_click(TARGET, mask, [(25, 20, FOREGROUND)]) == expected

    def test_of_several_errors_it_corrects_the_largest_connected_one(self) -> None:
        # Many small regions that together are more than the one large one.
        crumbs = np.zeros(SHAPE, bool)
        crumbs[0:9:2, ::2] = True
        missed = rectangle(12, 12, 21, 21)
        assert crumbs.sum() > missed.sum()
        x, y, label = next_click(TARGET, (TARGET & ~missed) | crumbs, [])
        assert (x, y, label) == (16, 16, FOREGROUND)

    def test_an_object_at_the_edge_of_the_picture_is_not_clicked_on_the_edge(self) -> None:
        corner = rectangle(0, 0, 11, 11)
        assert next_click(corner, NOTHING, []) == (5, 5, FOREGROUND)

    def test_no_pixel_is_clicked_twice(self) -> None:
        clicks: list[tuple[int, int, int]] = []
        for _ in range(15):
            clicks.append(next_click(TARGET, NOTHING, clicks))
        assert len({(x, y) for x, y, _ in clicks}) == 15
        assert all(TARGET[y, x] for x, y, _ in clicks)


class TestJudge:
    def test_a_perfect_predictor_needs_one_click(self, answering: Callable) -> None:
        result = trial(answering(TARGET))
        assert [result.clicks_to(target) for target in (0.8, 0.85, 0.9)] == [1, 1, 1]
        assert result.iou_after(1) == result.iou_after(5) == result.box.iou == result.oracle == 1
        assert len(result.answers) == 5  # the mean after five clicks is wanted, but no more

    def test_a_predictor_that_never_learns_spends_all_clicks(self, answering: Callable) -> None:
        left_half = rectangle(10, 10, 31, 25)
        result = trial(answering(left_half, iou_predictions=(0.7,)))
        assert len(result.answers) == len(result.clicks) == MAX_CLICKS == 20
        assert result.clicks_to(0.8) is None
        assert result.iou_after(1) == pytest.approx(15 / 31)
        assert result.box.iou_prediction == 0.7

    def test_every_click_is_sent_with_those_before_it(self, answering: Callable) -> None:
        predictor = answering(NOTHING)
        result = trial(predictor)
        for count in (1, 2, 20):
            sent = predictor.prompts[count - 1]
            clicks = np.array(result.clicks[:count])
            assert (sent.point_coords == clicks[:, :2]).all()
            assert (sent.point_labels == clicks[:, 2]).all()

    def test_the_box_is_that_of_the_object(self, answering: Callable) -> None:
        predictor = answering(TARGET)
        trial(predictor)
        boxed, *_ = [prompt for prompt in predictor.prompts if prompt.has_box]
        assert boxed.point_coords.tolist() == [[10, 10], [40, 30]]

    def test_the_box_is_corrected_by_a_click(self, answering: Callable) -> None:
        predictor = answering(TARGET & ~rectangle(12, 12, 19, 19), iou_predictions=(0.7,))
        result = trial(predictor)
        _, both = [prompt for prompt in predictor.prompts if prompt.has_box]
        assert both.point_coords.tolist() == [[15, 15], [10, 10], [40, 30]]
        assert both.clicks.tolist() == [FOREGROUND]
        assert result.box_and_click.iou == result.box.iou < 1

    def test_unknown_pixels_count_neither_for_an_answer_nor_against_it(
        self, answering: Callable
    ) -> None:
        beside = rectangle(10, 41, 31, 60)
        predictor = answering(TARGET | beside)
        image = np.zeros((*SHAPE, 3), np.uint8)
        arguments = (predictor, predictor.embed(image), image, TARGET, "target", STRATEGIES["iou"])
        assert judge(*arguments).iou_after(1) < 0.7
        result = judge(*arguments, unknown=beside)
        assert result.iou_after(1) == result.box.iou == result.box_and_click.iou == 1
        assert result.oracle == 1
        assert not any(beside[y, x] for x, y, _ in result.clicks)

    def test_the_oracle_takes_the_best_of_the_three_answers(self, answering: Callable) -> None:
        predictor = answering(NOTHING, TARGET, ~TARGET, iou_predictions=(0.9, 0.1, 0.1))
        result = trial(predictor, "iou")
        assert result.iou_after(1) == 0
        assert result.oracle == 1


class TestStrategies:
    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize(("radius", "is_refined"), [(9, True), (70, False)])
    def test_served_is_what_a_request_with_all_clicks_gets(
        self, radius: int, is_refined: bool
    ) -> None:
        predictor = load_predictor(BUILTIN_PATH, engine="torch", precision="fp32")
        rows, columns = np.ogrid[:300, :400]
        image = np.full((300, 400, 3), 120, np.uint8)
        image[(columns - 200) ** 2 + (rows - 150) ** 2 <= radius**2] = (210, 50, 40)
        embedding = predictor.embed(image)
        crops: list[Crop] = []

        def embed_crop(crop: Crop) -> ImageEmbedding:
            crops.append(crop)
            return predictor.embed(crop.cut(image))

        points, signs = [(200, 150), (203, 153), (200, 160 + radius)], [1, 1, 0]
        step = None
        for count in (1, 2, 3):
            prompt = Prompt.from_points(points[:count], signs[:count])
            step = served(predictor, embedding, embed_crop, prompt, step)
        (whole,) = interactive.segment(predictor, embedding, [prompt], embed_crop=embed_crop)
        assert bool(crops) == is_refined
        np.testing.assert_array_equal(step.mask, whole.mask)
        np.testing.assert_array_equal(step.low_res_mask, whole.low_res_mask)

    @pytest.mark.parametrize(
        ("strategy", "expected"),
        [("iou", 0.9), ("stability", 0.2), ("iou-stability", 0.6), ("single", 0.9)],
    )
    def test_who_wins_among_three(self, strategy: str, expected: float) -> None:
        ramp = np.linspace(-8, 8, 64, dtype=np.float32)  # steep: stable; flat: not
        answers = [
            MaskPrediction(TARGET, (ramp * steepness).reshape(8, 8), predicted)
            for steepness, predicted in [(0.2, 0.9), (0.9, 0.6), (2.0, 0.2)]
        ]
        predictor = type(
            "Three", (), {"predict_masks": lambda self, e, p, multimask_output: answers}
        )()
        answer = STRATEGIES[strategy](predictor, None, no_crop, Prompt.from_points([(3, 4)]), None)
        assert answer.iou_prediction == expected

    @pytest.mark.parametrize("strategy", STRATEGIES.keys() - {"served", "without-crops"})
    def test_only_chained_ones_show_the_mask_they_correct(
        self, answering: Callable, strategy: str
    ) -> None:
        predictor = answering(rectangle(0, 0, 5, 5))
        trial(predictor, strategy)
        first, *later = predictor.prompts[:MAX_CLICKS]
        assert first.mask_input is None
        shown = {prompt.mask_input is not None for prompt in later}
        assert shown == {strategy.endswith("-chained")}


def test_stability_is_the_overlap_of_two_thresholds() -> None:
    logits = np.array([[-2, -0.5, 0.5, 2]], np.float32)
    assert stability(MaskPrediction(NOTHING, logits, 0)) == pytest.approx(1 / 3)
    assert stability(MaskPrediction(NOTHING, np.full((2, 2), -9, np.float32), 0)) == 0


def test_iou() -> None:
    assert iou(rectangle(0, 0, 2, 2), rectangle(0, 1, 2, 3)) == pytest.approx(1 / 3)
    assert iou(NOTHING, NOTHING) == 1
    assert iou(NOTHING, TARGET) == 0
